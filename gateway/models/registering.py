"""An adapter is registered: its archive is checked in place, and its weights are copied."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import uuid_utils.compat as uuids

from gateway.services import Services
from infra.engines.adapter_archives import AdapterArchive, Packed
from infra.postgres.queries import adapters, files, stored
from infra.postgres.queries.adapters import NewVersion, StoredAdapter
from schemas.adapters import MOST, NewAdapter
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.ids import parsed
from schemas.models import Models, ModelSpec, OpenAIModel


async def register(services: Services, tenant: str, new: NewAdapter) -> tuple[StoredAdapter, bool]:
    """The version that the archive is, and whether it is new: the newest one again is no new version.

    Raises `InvalidInput` (`model_not_found`, `adapter_refused`), `NotFound` (`file_not_found`), `Conflict`
    (`too_many_adapters`), `StorageFull` and `DependencyUnavailable`.
    """
    base, most = _trainable(services.models, new.base)
    async with services.database.connection() as connection:
        file = await files.file(connection, parsed("file", new.file), tenant)
    if file is None:
        raise NotFound(f"there is no file {new.file}: upload it first", code="file_not_found", field="file")
    loop = asyncio.get_running_loop()

    def read(start: int, length: int) -> bytes:
        return asyncio.run_coroutine_threadsafe(_part(services, file["blob"], start, length), loop).result()

    archive = await asyncio.to_thread(AdapterArchive, read, file["bytes"])
    packed = await asyncio.to_thread(archive.checked, bases=_names(base), max_rank=most)
    return await _stored(services, tenant, new, archive, packed)


async def _stored(
    services: Services, tenant: str, new: NewAdapter, archive: AdapterArchive, packed: Packed
) -> tuple[StoredAdapter, bool]:
    version_id = uuids.uuid7()
    blob = f"{tenant}/adapters/{version_id.hex}"
    async with services.limits.room(tenant) as room:
        room.take(packed.size)
        async with services.database.connection() as connection:
            await files.expect(connection, blob)
        kept = False
        try:
            digest = hashlib.sha256()
            await services.blobs.put_stream(blob, _unpacked(archive, digest))
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
            )
            found, kept = await _recorded(services, version)
        finally:
            if not kept:
                await services.blobs.delete(blob)
        if kept:
            room.keep()
    return found, kept


async def _recorded(services: Services, version: NewVersion) -> tuple[StoredAdapter, bool]:
    limit = services.limits.file_bytes
    async with services.database.unit_of_work() as connection:
        await adapters.begin(connection, version.tenant)
        newest = await adapters.find(connection, version.tenant, version.base, version.name, None)
        if newest is not None and newest.sha256 == version.sha256:
            return newest, False
        if limit and not await stored.fits(connection, version.tenant, version.bytes, limit):
            raise services.limits.storage_full()
        added = await adapters.add(connection, version)
    if added is None:
        raise Conflict(f"there are {MOST} versions of adapters already: remove some", code="too_many_adapters")
    return added, True


async def _part(services: Services, blob: str, start: int, length: int) -> bytes:
    return b"".join([piece async for piece in services.blobs.stream(blob, start=start, length=length)])


async def _unpacked(archive: AdapterArchive, digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    weights = await asyncio.to_thread(archive.weights)
    while piece := await asyncio.to_thread(weights.read):
        digest.update(piece)
        yield piece


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
