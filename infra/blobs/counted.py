"""Object storage within a tenant's limit: what jobs write is reserved in Postgres before it is stored."""

from collections.abc import AsyncIterator
from typing import Final, Protocol

from infra.postgres.database import Database
from infra.postgres.queries import stored
from schemas.errors import StorageFull

STEP_BYTES: Final = 64 * 1024**2
STEPS: Final = 64
"""A step is at most the limit divided by this, so that what many jobs reserve without writing stays small."""


class Stored(Protocol):
    """The object storage that is counted, as stages see it."""

    async def put(self, key: str, data: bytes, *, content_type: str = ...) -> None:
        """Store `data` under `key`."""

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = ...) -> int:
        """Store a stream; returns the bytes stored. When it raises, nothing is stored."""

    async def get(self, key: str) -> bytes:
        """The bytes under `key`."""

    def stream(self, key: str, *, start: int = ..., length: int | None = ...) -> AsyncIterator[bytes]:
        """The bytes under `key`, or a range of them."""

    async def delete(self, prefix: str) -> int:
        """Remove the key `prefix` and every key under it; returns how many."""


class CountedBlobs:
    """Implements `Blobs`. Keys begin with the tenant, who may have `limit` bytes in files and job data together.

    A write that would pass the limit raises `StorageFull` beforehand.
    """

    def __init__(self, blobs: Stored, database: Database, limit: int) -> None:
        self._blobs = blobs
        self._database = database
        self._limit = limit
        self._step = min(STEP_BYTES, limit // STEPS)

    async def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Store `data` under `key`; durable and visible whole on return."""
        await self._reserve(key, len(data), len(data))
        try:
            await self._blobs.put(key, data, content_type=content_type)
        except BaseException:
            await self._forget(key)
            raise

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "application/octet-stream"
    ) -> int:
        """Store a stream; returns the bytes stored. Room is reserved in steps and settled at the end."""
        reserved = written = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal reserved, written
            async for chunk in chunks:
                written += len(chunk)
                if (need := written - reserved) > 0:
                    reserved += await self._reserve(key, need, max(need, self._step))
                yield chunk

        try:
            size = await self._blobs.put_stream(key, counted(), content_type=content_type)
        except BaseException:
            if reserved:
                await self._forget(key)
            raise
        if reserved != size:
            async with self._database.connection() as connection:
                await stored.settle(connection, key, size)
        return size

    async def get(self, key: str) -> bytes:
        """The bytes under `key`. Raises `NotFound`."""
        return await self._blobs.get(key)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start`, at most `length`, in pieces. Raises `NotFound` at the first piece."""
        return self._blobs.stream(key, start=start, length=length)

    async def delete(self, prefix: str) -> int:
        """Remove the key `prefix` and every key under it; returns how many. Their room becomes free."""
        deleted = await self._blobs.delete(prefix)
        await self._forget(prefix)
        return deleted

    async def _reserve(self, key: str, need: int, wish: int) -> int:
        tenant = key.partition("/")[0]
        async with self._database.unit_of_work() as connection:
            granted = await stored.reserve(connection, tenant, key, need, wish, self._limit)
        if granted is None:
            raise StorageFull(
                f"your files and what your jobs store may have {self._limit} bytes together (WELIP_LIMIT_FILE_BYTES):"
                " remove files, documents or collections, or ask for a higher limit"
            )
        return granted

    async def _forget(self, key: str) -> None:
        async with self._database.connection() as connection:
            await stored.forget(connection, [key])
