"""An adapter is registered: its archive is checked in place, and its weights are copied."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from uuid import UUID

import uuid_utils.compat as uuids

from infra.blobs.folder import FolderBlobs
from infra.engines.adapter_archives import AdapterArchive, Packed
from infra.postgres.database import Database
from infra.postgres.queries import adapters, files, stored
from infra.postgres.queries.adapters import NewVersion, StoredAdapter
from schemas.adapters import MOST, NamedAdapter, NewAdapter
from schemas.errors import Conflict, InvalidInput, JobError, NotFound, StorageFull
from schemas.ids import parsed
from schemas.lineage import Lineage
from schemas.models import Models, ModelSpec, OpenAIModel

if TYPE_CHECKING:
    from infra.blobs.s3 import MinioBlobs

T = TypeVar("T")

THREADS: Final = 2
"""Archives that are read at a time: a large one takes its seconds, and others wait for their turn."""


class Room(Protocol):
    """What one registration reserves of a tenant's bytes."""

    def take(self, size: int) -> None:
        """Reserve `size` bytes more, or raise that there is no room."""

    def keep(self) -> None:
        """They are stored."""


class Rooms(Protocol):
    """How many bytes tenants may store."""

    @property
    def file_bytes(self) -> int:
        """Of one tenant, in total; 0: no limit."""

    def room(self, tenant: str) -> AbstractAsyncContextManager[Room]:
        """A reservation, released at the end unless it is kept."""

    def storage_full(self) -> JobError:
        """The error for what does not fit."""


class CountedAtTheEnd:
    """For a worker: nothing is reserved in advance, and the sum is checked when the adapter is recorded."""

    def __init__(self, file_bytes: int) -> None:
        self.file_bytes = file_bytes

    @asynccontextmanager
    async def room(self, tenant: str) -> AsyncIterator[Room]:
        """A reservation of nothing."""
        yield _Unreserved()

    def storage_full(self) -> StorageFull:
        """As above."""
        return StorageFull(
            f"your files and what your jobs store may have {self.file_bytes} bytes together (WELIP_LIMIT_FILE_BYTES):"
            " remove files, adapters or collections, and register the file again"
        )


class Registrar:
    """Registers adapters. Its threads are its own: they wait for object storage, which may use the process's."""

    def __init__(self, database: Database, blobs: "FolderBlobs | MinioBlobs", limits: Rooms, models: Models) -> None:
        self._database = database
        self._blobs = blobs
        self._limits = limits
        self._models = models
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="adapters")

    async def register(
        self, tenant: str, new: NewAdapter, lineage: Lineage | None = None, run: UUID | None = None
    ) -> tuple[StoredAdapter, bool]:
        """The version that the archive is, and whether it is new: the newest one again is no new version.

        `lineage` and `run` (in the experiment tracker) are kept with an adapter that a training made.
        Raises `InvalidInput` (`model_not_found`, `adapter_refused`), `NotFound` (`file_not_found`), `Conflict`
        (`too_many_adapters`), `StorageFull` and `DependencyUnavailable`.
        """
        base, most = _trainable(self._models, new.base)
        async with self._database.connection() as connection:
            file = await files.file(connection, parsed("file", new.file), tenant)
        if file is None:
            raise NotFound(f"there is no file {new.file}: upload it first", code="file_not_found", field="file")
        loop = asyncio.get_running_loop()

        def read(start: int, length: int) -> bytes:
            return asyncio.run_coroutine_threadsafe(self._part(file["blob"], start, length), loop).result()

        def check() -> tuple[AdapterArchive, Packed]:
            archive = AdapterArchive(read, file["bytes"])
            return archive, archive.checked(bases=_names(base), max_rank=most)

        archive, packed = await self._in_thread(check)
        return await self._stored(tenant, new, archive, packed, lineage, run)

    async def registered(self, tenant: str, new: NewAdapter, lineage: Lineage, run: UUID | None) -> str:
        """Register what a training made, and return the name of the version, such as `qwen:mine@2`."""
        version, _ = await self.register(tenant, new, lineage, run)
        return str(NamedAdapter(version.base, version.name, version.version))

    async def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _stored(
        self,
        tenant: str,
        new: NewAdapter,
        archive: AdapterArchive,
        packed: Packed,
        lineage: Lineage | None,
        run: UUID | None,
    ) -> tuple[StoredAdapter, bool]:
        version_id = uuids.uuid7()
        blob = f"{tenant}/adapters/{version_id.hex}"
        async with self._limits.room(tenant) as room:
            room.take(packed.size)
            async with self._database.connection() as connection:
                await files.expect(connection, blob)
            kept = False
            try:
                digest = hashlib.sha256()
                await self._blobs.put_stream(blob, self._unpacked(archive, digest))
                weights = digest.hexdigest()
                version = NewVersion(
                    id=version_id,
                    tenant=tenant,
                    base=new.base,
                    name=new.name,
                    config=packed.config.decode(),
                    rank=packed.adapter.rank,
                    blob=blob,
                    bytes=packed.size,
                    sha256=hashlib.sha256(packed.config + bytes.fromhex(weights)).hexdigest(),
                    weights_sha256=weights,
                    lineage=None if lineage is None else lineage.model_dump_json(),
                    run=run,
                )
                found, kept = await self._recorded(version)
            finally:
                if not kept:
                    await self._blobs.delete(blob)
            if kept:
                room.keep()
        return found, kept

    async def _recorded(self, version: NewVersion) -> tuple[StoredAdapter, bool]:
        limit = self._limits.file_bytes
        async with self._database.unit_of_work() as connection:
            await adapters.begin(connection, version.tenant)
            newest = await adapters.find(connection, version.tenant, version.base, version.name, None)
            if newest is not None and newest.sha256 == version.sha256:
                return newest, False
            if limit and not await stored.fits(connection, version.tenant, version.bytes, limit):
                raise self._limits.storage_full()
            added = await adapters.add(connection, version)
        if added is None:
            raise Conflict(f"there are {MOST} versions of adapters already: remove some", code="too_many_adapters")
        return added, True

    async def _part(self, blob: str, start: int, length: int) -> bytes:
        return b"".join([piece async for piece in self._blobs.stream(blob, start=start, length=length)])

    async def _unpacked(self, archive: AdapterArchive, digest: "hashlib._Hash") -> AsyncIterator[bytes]:
        weights = await self._in_thread(archive.weights)
        while piece := await self._in_thread(weights.read):
            digest.update(piece)
            yield piece

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _trainable(models: Models, name: str) -> tuple[ModelSpec, int]:
    """The model, and the largest rank that it takes. Raises `InvalidInput`."""
    base = models.wanted(name, "chat", field="base")
    if base.name != name:
        raise InvalidInput(f"name the model as it is called here: {base.name!r}", field="base")
    if base.max_lora_rank is not None:
        return base, base.max_lora_rank
    if isinstance(base, OpenAIModel):
        why = "its server has its own: name them in the models file (`adapters`)"
    else:
        why = "its options lack enable_lora"
    raise InvalidInput(f"no adapters can be registered for the model {name!r}: {why}", field="base")


def _names(base: ModelSpec) -> list[str]:
    weights = getattr(base, "weights", None)
    return [base.name, *([weights] if weights else [])]


class _Unreserved:
    def take(self, size: int) -> None:
        """Nothing is reserved."""

    def keep(self) -> None:
        """Nothing was reserved."""
