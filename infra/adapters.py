"""Adapters on a worker's machine: each version is fetched once, into a folder of its own that never changes.

Workers of one machine may share the folder. A version that is in use is locked, and the operating system releases the
lock of a process that dies. What was used longest ago makes room.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import structlog

from infra.engines.adapters import CONFIG, WEIGHTS
from infra.postgres.database import Database
from infra.postgres.queries import adapters
from infra.postgres.queries.adapters import StoredAdapter
from infra.settings import LoraSettings
from schemas.adapters import AdapterNotFound, NamedAdapter, ReadyAdapter, named_adapter
from schemas.errors import DependencyUnavailable
from schemas.models import Models, ModelSpec, OpenAIModel

log = structlog.get_logger(__name__)

UNFINISHED: Final = ".fetching"
ABANDONED_AFTER_S: Final = 24 * 3600
LOOKS_EVERY_S: Final = 0.05


class Stored(Protocol):
    """What fetching needs of object storage."""

    def stream(self, key: str) -> AsyncIterator[bytes]:
        """The bytes under `key`, in pieces."""


class AdapterFolder:
    """Implements the port `Adapters`."""

    def __init__(self, database: Database, blobs: Stored, models: Models, settings: LoraSettings) -> None:
        self._database = database
        self._blobs = blobs
        self._models = models
        self._root = settings.cache
        self._most = settings.cache_bytes

    @asynccontextmanager
    async def ready(self, tenant: str, model: str | None, asked: str) -> AsyncIterator[ReadyAdapter | None]:
        """The adapter that a job asked for. Raises `AdapterNotFound` and `DependencyUnavailable`."""
        base = self._base(model)
        named = named_adapter(asked)
        # A model may have a name of this form on its server.
        if base is None or named is None or asked == base.title:
            yield None
            return
        named = NamedAdapter(base.name, named.name, named.version)
        if isinstance(base, OpenAIModel):
            if named.name not in base.adapters:
                raise _unknown(named)
            yield ReadyAdapter(base.adapters[named.name], str(named))
            return
        async with self._database.connection() as connection:
            found = await adapters.find(connection, tenant, named.base, named.name, named.version)
        if found is None:
            raise _unknown(named)
        name = str(NamedAdapter(found.base, found.name, found.version))
        with _Lock(self._root, found.id.hex) as lock:
            yield ReadyAdapter(str(await self._held(found, lock, name)), name)

    def _base(self, model: str | None) -> ModelSpec | None:
        return next((row for row in self._models if row.name == model and row.can("answers")), None)

    async def _held(self, found: StoredAdapter, lock: "_Lock", name: str) -> Path:
        """The folder of a version, fetched if need be and locked against removal."""
        folder = self._root / found.id.hex
        while True:
            await lock.share()
            if _used(folder):
                return folder
            await lock.take()
            if not folder.is_dir():
                await asyncio.to_thread(self._make_room, found.bytes)
                await self._fetch(found, folder)
                log.info("adapter.fetched", adapter=name, bytes=found.bytes)

    async def _fetch(self, found: StoredAdapter, folder: Path) -> None:
        """Write the whole of it beside its place, compare it, and move it there."""
        making = Path(tempfile.mkdtemp(dir=self._root, prefix=UNFINISHED))
        digest = hashlib.sha256()
        try:
            (making / CONFIG).write_text(found.config, encoding="utf-8")
            with (making / WEIGHTS).open("wb") as file:
                async for piece in self._blobs.stream(found.blob):
                    digest.update(piece)
                    await asyncio.to_thread(file.write, piece)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            if digest.hexdigest() != found.weights_sha256:
                raise DependencyUnavailable(f"object storage holds other bytes than those of the adapter {found.name}")
            os.rename(making, folder)
        except OSError as error:
            raise DependencyUnavailable(f"the folder of adapters does not work: {error}") from error
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _make_room(self, wanted: int) -> None:
        """Remove what nobody uses, the one used longest ago first, until `wanted` more bytes fit."""
        kept = []
        for folder in self._root.iterdir():
            with suppress(FileNotFoundError, NotADirectoryError):  # a lock, or another worker removes it
                used = folder.stat().st_mtime
                if not folder.name.startswith(UNFINISHED):
                    kept.append((used, (folder / WEIGHTS).stat().st_size, folder))
                elif time.time() - used > ABANDONED_AFTER_S:
                    shutil.rmtree(folder, ignore_errors=True)
        over = sum(size for _, size, _ in kept) + wanted - self._most
        for _, size, folder in sorted(kept):
            if over <= 0:
                return
            with _Lock(self._root, folder.name) as lock:
                if lock.try_take():
                    shutil.rmtree(folder, ignore_errors=True)
                    over -= size


class _Lock:
    """A lock on one version, held by sharers who use it or by one who changes it; released when it is closed."""

    def __init__(self, root: Path, name: str) -> None:
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = (root / f"{name}.lock").open("ab")
        except OSError as error:
            raise DependencyUnavailable(f"the folder of adapters does not work: {error}") from error

    def __enter__(self) -> "_Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    async def share(self) -> None:
        """Wait until nobody changes it, and keep it from being changed."""
        while not self._got(fcntl.LOCK_SH):  # noqa: ASYNC110 - other processes tell nobody
            await asyncio.sleep(LOOKS_EVERY_S)

    async def take(self) -> None:
        """Give up a share, and wait until nobody else has one."""
        while not self.try_take():  # noqa: ASYNC110 - as above
            await asyncio.sleep(LOOKS_EVERY_S)

    def try_take(self) -> bool:
        """Take it if nobody uses it."""
        return self._got(fcntl.LOCK_EX)

    def _got(self, kind: int) -> bool:
        # Never waiting in a thread: those who wait would keep the one who fetches from working.
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _used(folder: Path) -> bool:
    """Whether it is there; then it counts as used now."""
    try:
        os.utime(folder)
    except FileNotFoundError:
        return False
    return True


def _unknown(named: NamedAdapter) -> AdapterNotFound:
    return AdapterNotFound(f"there is no adapter {str(named)!r}: it was removed", field="model")
