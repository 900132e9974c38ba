"""Files of a worker's disk and blobs, a piece at a time."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from consumers.stages.ports import Blobs

PIECE: Final = 1024 * 1024


async def pieces(path: Path) -> AsyncIterator[bytes]:
    """A file's content."""
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece


async def whole(data: bytes) -> AsyncIterator[bytes]:
    """Bytes that are in memory already, as a stream."""
    yield data


async def fetched(blobs: Blobs, key: str, path: Path) -> str:
    """Write a blob to a file; the sha256 of what was written. Raises `NotFound`."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        async for piece in blobs.stream(key):
            digest.update(piece)
            await asyncio.to_thread(file.write, piece)
    return digest.hexdigest()
