"""Hands an asynchronous stream to a library that reads it in a thread, a few chunks at a time."""

import asyncio
import queue
from concurrent.futures import Future
from typing import Any, Final

CHUNKS_IN_FLIGHT: Final = 8


class BrokenStreamError(Exception):
    """Raised in the reading thread when the stream behind it failed: discard everything that was read."""


class ChunkPipe:
    """One writer on the event loop, one reader in a thread.

    The writer calls `feed` for each chunk, then `finish` or `abandon`. The reader calls `read`. Once the reader is
    gone, `reader_gone` releases a waiting writer.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(CHUNKS_IN_FLIGHT)
        # Putting never blocks the event loop; `_room` limits the queue's size.
        self._chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._buffer = bytearray()
        self._ended = False
        self._abandoned = False
        self._reader_gone = False
        self.fed = 0

    async def feed(self, chunk: bytes) -> bool:
        """Hand over a chunk, waiting for room; returns False when the reader is gone."""
        await self._room.acquire()
        self._chunks.put(chunk)
        self.fed += len(chunk)
        return not self._reader_gone

    def finish(self) -> None:
        """Mark the stream as complete."""
        self._chunks.put(None)

    def abandon(self) -> None:
        """Mark the stream as failed: the reader gets `BrokenStreamError`."""
        self._abandoned = True
        self._chunks.put(None)

    def reader_gone(self, _: "Future[Any] | asyncio.Future[Any]") -> None:
        """Release the writer; the callback of the reader's future, called on the event loop."""
        self._reader_gone = True
        self._room.release()

    def read(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end. For the reader's thread. Raises `BrokenStreamError`."""
        while len(self._buffer) < size and not self._ended:
            chunk = self._chunks.get()
            if chunk is None:
                self._ended = True
            else:
                self._buffer += chunk
                self._loop.call_soon_threadsafe(self._room.release)
        if self._abandoned:
            raise BrokenStreamError
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        return piece
