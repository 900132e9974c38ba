"""Object storage in a folder: the embedded default. Any number of processes on one machine may share the folder."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from infra.blobs.keys import checked, checked_range
from schemas.errors import Conflict, DependencyUnavailable, NotFound

PIECE_BYTES: Final = 1 << 20
ABANDONED_AFTER_S: Final = 24 * 3600


class FolderBlobs:
    """Implements `Blobs`. Blobs are under `root/objects`; while one is being written, it is under `root/incoming`.

    Content types are not stored. Unlike on S3, a key cannot lie under another key; that raises `Conflict`.
    """

    def __init__(self, root: Path) -> None:
        self._objects = root.resolve() / "objects"
        self._incoming = root.resolve() / "incoming"
        with _translated():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self._objects, self._incoming):
                folder.mkdir(parents=True, exist_ok=True)
            self._sweep()

    async def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Store `data` under `key`; durable and visible whole on return."""
        target = self._path(key)
        await asyncio.to_thread(self._put, target, data)

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "application/octet-stream"
    ) -> int:
        """Store a stream; returns the bytes stored. When `chunks` raises, nothing is stored."""
        target = self._path(key)
        file = await asyncio.to_thread(self._begin)
        try:
            stored = 0
            async for chunk in chunks:
                await asyncio.to_thread(_write, file, chunk)
                stored += len(chunk)
            await asyncio.to_thread(self._publish, file, target)
        finally:
            _discard(file)
        return stored

    async def get(self, key: str) -> bytes:
        """The bytes under `key`. Raises `NotFound`."""
        return await asyncio.to_thread(self._get, self._path(key))

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start`, at most `length`, in pieces of up to 1 MiB. Raises `NotFound` at the first piece."""
        checked_range(start, length)
        file = await asyncio.to_thread(self._open, self._path(key))
        try:
            file.seek(start)
            left = length
            while left is None or left > 0:
                piece = await asyncio.to_thread(file.read, PIECE_BYTES if left is None else min(PIECE_BYTES, left))
                if not piece:
                    return
                if left is not None:
                    left -= len(piece)
                yield piece
        finally:
            file.close()

    async def names(self, prefix: str) -> AsyncGenerator[str, None]:
        """The names directly under `prefix/`: folders in ascending order, and blobs; none if it does not exist."""
        for name in await asyncio.to_thread(self._names, self._path(prefix)):
            yield name

    async def delete(self, prefix: str) -> int:
        """Remove the key `prefix` and every key under it; returns how many."""
        return await asyncio.to_thread(self._delete, self._path(prefix))

    async def check(self) -> None:
        """Raise `DependencyUnavailable` unless a file can be written."""
        await asyncio.to_thread(self._check)

    async def close(self) -> None:
        """Does nothing: no resources are held between calls."""

    def _path(self, key: str) -> Path:
        return self._objects / checked(key)

    def _begin(self) -> BinaryIO:
        with _translated():
            return (self._incoming / uuid.uuid4().hex).open("xb")

    def _put(self, target: Path, data: bytes) -> None:
        file = self._begin()
        try:
            _write(file, data)
            self._publish(file, target)
        finally:
            _discard(file)

    def _publish(self, file: BinaryIO, target: Path) -> None:
        with _translated():
            file.flush()
            os.fsync(file.fileno())
            new_folders = [folder for folder in target.parents if not folder.exists()]
            while True:
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file.name, target)
                    break
                except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                    if target.is_dir() or any(folder.is_file() for folder in target.parents):
                        raise Conflict(f"{target.name!r} would lie under, or over, another blob") from error
                    if not os.path.exists(file.name):
                        raise
                    # Deleting a prefix removed a folder between two calls, so create it again.
            for folder in {target.parent, *(folder.parent for folder in new_folders)}:
                with suppress(FileNotFoundError):  # deleted again meanwhile
                    _sync_folder(folder)

    def _open(self, path: Path) -> BinaryIO:
        with _translated(path.name):
            return path.open("rb")

    def _get(self, path: Path) -> bytes:
        with _translated(path.name):
            return path.read_bytes()

    def _delete(self, path: Path) -> int:
        with _translated(path.name):
            try:
                path.unlink()
                return 1
            except (FileNotFoundError, NotADirectoryError):
                return 0
            except (IsADirectoryError, PermissionError):  # macOS raises the latter for a folder
                if not path.is_dir():
                    raise
            removed = 0
            for folder, _, names in os.walk(path, topdown=False):
                for name in names:
                    with suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))
                        removed += 1
                with suppress(OSError):  # a concurrent put has just created something in it
                    os.rmdir(folder)
            return removed

    def _names(self, path: Path) -> list[str]:
        with _translated():
            try:
                return sorted(os.listdir(path))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def _check(self) -> None:
        file = self._begin()
        try:
            _write(file, b"check")
            with _translated():
                file.flush()
                os.fsync(file.fileno())  # a full disk refuses written data, not buffered data
        finally:
            _discard(file)

    def _sweep(self) -> None:
        """Remove half-written files of processes that died."""
        for leftover in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > ABANDONED_AFTER_S:
                    leftover.unlink()


def _write(file: BinaryIO, data: bytes) -> None:
    with _translated():
        file.write(data)


def _discard(file: BinaryIO) -> None:
    """Close `file` and remove what is left of it: nothing after it was published, all of it otherwise."""
    with suppress(OSError):  # a full disk fails the last flush too; the first error is the one to report
        file.close()
    Path(file.name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename into `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translated(name: str | None = None) -> Iterator[None]:
    """Translate errors. With a blob's `name`, a missing file means a missing blob; without, a broken store."""
    try:
        yield
    except OSError as error:
        if name is not None and isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise NotFound(f"there is no blob {name!r}") from error
        raise DependencyUnavailable(f"the blob folder does not work: {error}") from error
