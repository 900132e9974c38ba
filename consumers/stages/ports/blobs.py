"""Object storage, as stages see it."""

from collections.abc import AsyncIterator
from typing import Protocol


class Blobs(Protocol):
    """Object storage: immutable bytes under `/`-separated keys."""

    async def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Store `data` under `key`, replacing what was there; visible whole or not at all."""

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "application/octet-stream"
    ) -> int:
        """Store a stream of unknown length without holding it in memory; returns the bytes stored.

        When `chunks` raises, nothing is stored and the exception passes through.
        """

    async def get(self, key: str) -> bytes:
        """The bytes under `key`. Raises `NotFound`."""

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes under `key` from byte `start`, at most `length` of them, in pieces. Raises `NotFound`."""

    async def delete(self, prefix: str) -> int:
        """Remove every key that equals `prefix` or lies under `prefix/`; returns how many. Absent is no error."""
