"""Reading what is uploaded: from a path, bytes or an open file, reporting progress to a callback."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the content itself, or a file opened for reading bytes (sent from its start)."""

SentWatcher: TypeAlias = Callable[[int], None]
"""Called with the bytes handed to the connection so far."""


class _Counted:
    """A file that reports how far it has been read."""

    def __init__(self, file: BinaryIO, watcher: SentWatcher) -> None:
        self._file = file
        self._watcher = watcher

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._watcher(self._file.tell())
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def opened(source: Source, filename: str | None, progress: SentWatcher | None) -> Iterator[tuple[str, BinaryIO]]:
    """The name to upload under, and the file to stream; closes what it opened itself."""
    if isinstance(source, bytes):
        name, context = filename or "upload", nullcontext(cast(BinaryIO, BytesIO(source)))
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        name, context = filename or path.name, cast("nullcontext[BinaryIO]", path.open("rb"))
    else:
        name, context = filename or Path(str(getattr(source, "name", "upload"))).name, nullcontext(source)
    with context as file:
        yield name, cast(BinaryIO, _Counted(file, progress)) if progress else file


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` only when it was written whole."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
