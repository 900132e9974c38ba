"""Deletes blobs recorded as garbage within seconds. Any number of processes may do so side by side.

Only recorded blobs are ever deleted: object storage may hold things that this database does not know.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Final, Protocol

import structlog

from infra.metrics import REMOVED
from infra.postgres.database import Database
from infra.postgres.queries import garbage
from schemas.errors import DependencyUnavailable

log = structlog.get_logger(__name__)

EVERY_S: Final = 1.0
PAGE: Final = 100
"""Records whose blobs are deleted in one transaction, which must be short."""
FEW: Final = 10
"""How many job folders are deleted without a check: listing all jobs' folders costs more."""


class Stored(Protocol):
    """What garbage collection needs of object storage."""

    def names(self, prefix: str) -> AsyncGenerator[str, None]:
        """The names directly under `prefix/`: folders in ascending order, and blobs."""

    async def delete(self, prefix: str) -> int:
        """Remove the key `prefix` and every key under it; returns how many."""


class Garbage:
    """Deletes blobs recorded as garbage, except those that a file's row names."""

    def __init__(self, database: Database, blobs: Stored) -> None:
        self._database = database
        self._blobs = blobs

    async def run(self) -> None:
        """Collect every second until cancelled; keep trying while Postgres or object storage is away."""
        while True:
            try:
                if deleted := await self.collect():
                    log.info("garbage.collected", blobs=deleted)
            except DependencyUnavailable as error:
                log.warning("garbage.away", error=error.message)
            except Exception as error:
                # Deleting late is harmless; ending relay and rescuer with it would not be.
                log.error("garbage.defect", exc_info=error)
            await asyncio.sleep(EVERY_S)

    async def collect(self) -> int:
        """Delete all that is due; returns how many blobs there were."""
        async with self._database.connection() as connection:
            if not await garbage.anything(connection):
                return 0
        total = 0
        while True:
            async with self._database.unit_of_work() as connection:
                page = await garbage.due(connection, PAGE)
                deleted = await self._delete_all(page, await garbage.listed(connection, page)) if page else 0
                await garbage.collected(connection, page)
            REMOVED.labels("blobs").inc(deleted)
            total += deleted
            if len(page) < PAGE:
                return total

    async def _delete_all(self, page: Sequence[str], kept: Sequence[str]) -> int:
        deleted = 0
        for folder, keys in groupby(page, key=lambda key: key.rpartition("/")[0]):
            for key in await self._existing(folder, list(keys)):
                deleted += await self._delete(key, kept)
        return deleted

    async def _delete(self, key: str, kept: Sequence[str]) -> int:
        """Delete a blob, or a folder except the parts that are kept."""
        below = [one for one in kept if one.startswith(f"{key}/")]
        if not below:
            return await self._blobs.delete(key)
        names = [name async for name in self._blobs.names(key)]
        inside = [f"{key}/{name}" for name in names]
        return sum([await self._delete(one, below) for one in inside if one not in below])

    async def _existing(self, folder: str, keys: list[str]) -> list[str]:
        """Those of the keys, in order, that are worth deleting: most jobs leave no blob, and a list costs one call."""
        if not folder.endswith("/jobs") or len(keys) <= FEW:
            return keys
        found: list[str] = []
        async with aclosing(self._blobs.names(folder)) as names:
            async for name in names:
                key = f"{folder}/{name}"
                if key > keys[-1]:
                    break
                found.append(key)
        return sorted(set(found).intersection(keys))
