"""A LoRA adapter as it is uploaded: a zip archive, read within limits and without unpacking what is not needed."""

import io
import stat
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Final

from infra.engines.adapters import (
    CONFIG,
    CONFIG_BYTES,
    WEIGHTS,
    Adapter,
    inspected,
    only_what_cannot_run,
    refuse,
)
from schemas.models import MAX_RANK

MOST_FILES: Final = 1_000
MOST_BYTES: Final = 8 * 1024**3
"""Of the weights, unpacked. Rank 64 in every layer of a model of 70 billion parameters has some 3 GB."""
READ_AT_ONCE: Final = 256 * 1024
TABLE_BYTES: Final = 4 * 1024 * 1024
"""Of the archive that may be read before its table of contents is known."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An adapter that was checked: its configuration as JSON, and how many bytes of weights it has."""

    adapter: Adapter
    config: bytes
    size: int


class AdapterArchive:
    """An archive of `size` bytes, of which `read(start, length)` returns a part. Blocking: for a thread.

    Every method raises `InvalidInput` (`adapter_refused`) for what no adapter may hold, and what `read` raises.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._part = _Part(read, size)
        with _readable():
            self._zip = zipfile.ZipFile(io.BufferedReader(self._part, READ_AT_ONCE))
        self._part.left = None
        self._config, self._weights = self._members()

    def checked(self, *, bases: Collection[str], max_rank: int = MAX_RANK) -> Packed:
        """The adapter, told from its configuration and the header of its weights."""
        if self._config.file_size > CONFIG_BYTES:
            refuse(f"has a {CONFIG} of more than {CONFIG_BYTES >> 20} MiB")
        if self._weights.file_size > MOST_BYTES:
            refuse(f"has weights of more than {MOST_BYTES >> 30} GiB")
        with _readable():
            config = self._zip.read(self._config)
            with self._zip.open(self._weights) as weights:
                adapter = inspected(config, weights, self._weights.file_size, bases=bases, max_rank=max_rank)
        return Packed(adapter, config, self._weights.file_size)

    def weights(self) -> "Weights":
        """The weights, to be read piece by piece."""
        with _readable():
            return Weights(self._zip.open(self._weights), self._weights.file_size)

    def _members(self) -> tuple[zipfile.ZipInfo, zipfile.ZipInfo]:
        members = [one for one in self._zip.infolist() if not one.is_dir()]
        if len(members) > MOST_FILES:
            refuse(f"is an archive of more than {MOST_FILES} files")
        for one in members:
            parts = PurePosixPath(one.filename).parts
            if one.filename.startswith("/") or ".." in parts or "\\" in one.orig_filename or "\0" in one.orig_filename:
                refuse(f"is an archive with a path that leaves its folder ({one.filename[:200]!r})")
            if stat.S_ISLNK(one.external_attr >> 16):
                refuse(f"holds a link ({one.filename[:200]}); only files are accepted")
            if one.flag_bits & 1:
                refuse("is an encrypted archive")
            # Of the others a small piece may unpack to any size at once.
            if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                refuse("is an archive packed by another method than deflate")
        only_what_cannot_run(one.filename for one in members)
        return _only(members, CONFIG), _only(members, WEIGHTS)


class Weights:
    """Unpacked weights. Raises `InvalidInput` when the archive breaks off or does not match its checksum."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self) -> bytes:
        """The next piece; empty after the last one."""
        with _readable():
            piece = self._file.read(READ_AT_ONCE)
        self._left -= len(piece)
        if not piece and self._left:
            refuse("is an archive that breaks off")
        return piece


class _Part(io.RawIOBase):
    """A file of which any part can be read; `left`: how many bytes may still be, None for any number."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0
        self.left: int | None = TABLE_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("before the beginning")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        if self.left is not None:
            self.left -= length
            if self.left < 0:
                refuse(f"is an archive whose table of contents has more than {TABLE_BYTES >> 20} MiB")
        data = self._read(self._at, length)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextmanager
def _readable() -> Iterator[None]:
    """Turns what a damaged archive raises into its refusal."""
    try:
        yield
    # zipfile raises RuntimeError for encryption, NotImplementedError for unknown methods, EOFError for cut ones.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError, OverflowError) as error:
        refuse(f"is no readable zip archive: {error}")


def _only(members: Collection[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    found = [one for one in members if PurePosixPath(one.filename).name == name]
    if len(found) != 1:
        refuse(f"has {'no' if not found else 'more than one'} {name}")
    return found[0]
