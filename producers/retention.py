"""Retention: removes what ended long enough ago, in small steps. One leads at a time; the others stand by.

Rows go first, and the commit that removes them notes the blobs they leave behind: a row without its blob would be a
broken promise, a blob without a row is deleted from the note.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from infra.metrics import REMOVED
from infra.postgres.database import Database
from infra.postgres.queries import embeddings, judgements, rebuilds, retention, uploads
from infra.postgres.queries.retention import Stretch
from infra.settings import RetentionSettings
from producers.garbage import Garbage, Stored
from schemas.errors import DependencyUnavailable

if TYPE_CHECKING:
    from infra.postgres.database import Connection

log = structlog.get_logger(__name__)

FIRST: Final = UUID(int=0)
LOOK_BACK_S: Final = 3600.0
"""How often a full pass starts from the beginning: rows that could not go then may go now."""
LOOKED_AT: Final = 200
"""Jobs whose input is searched in one statement; an input may have a megabyte."""
CLOCKS_APART: Final = timedelta(days=1)
"""Machines' clocks differ by less than this when a job is compared with a file it names."""
PAUSE_S: Final = 0.02


class _AnotherLeadsError(Exception):
    """Another process is removing at this moment."""


class Retention:
    """Removes what has expired by `settings`; a period of 0 keeps forever."""

    def __init__(self, database: Database, blobs: Stored, settings: RetentionSettings) -> None:
        self.garbage = Garbage(database, blobs)
        self._database = database
        self._settings = settings
        self._passed: dict[str, UUID] = {}
        self._looked_back_at = float("-inf")

    async def run(self) -> None:
        """A round every `every` until cancelled; keeps trying while Postgres or object storage is away."""
        while True:
            try:
                await self.round()
            except DependencyUnavailable as error:
                log.warning("retention.away", error=error.message)
            except Exception as error:
                # Removing late is harmless; ending relay and rescuer with it would not be.
                log.error("retention.defect", exc_info=error)
            await asyncio.sleep(self._settings.every.total_seconds())

    async def round(self) -> dict[str, int]:
        """Remove everything that has expired; returns how many of each. Nothing while another process leads."""
        look_back = time.monotonic() - self._looked_back_at >= LOOK_BACK_S
        if look_back:
            self._passed.clear()
            self._looked_back_at = time.monotonic()
        keep = self._settings
        removed: dict[str, int] = {}
        steps: list[tuple[str, timedelta, Callable[[timedelta], Awaitable[int]]]] = [
            ("deliveries", keep.deliveries, lambda age: self._rows("deliveries", retention.remove_deliveries, age)),
            ("dead_letters", keep.dead_letters, lambda age: self._rows("dead_letters", retention.remove_letters, age)),
            ("jobs", keep.jobs, self._jobs),
            ("uploads", keep.uploads, self._uploads),
            ("embeddings", keep.embeddings, self._embeddings),
            ("judgements", keep.judgements, self._judgements),
        ]
        try:
            for what, age, step in steps:
                removed[what] = await step(age) if age else 0
            removed["expired_files"] = await self._all("expired_files", retention.remove_expired)
            removed["unfinished_uploads"] = await self._all("unfinished_uploads", uploads.remove_old)
            removed["deleted_documents"] = await self._all("deleted_documents", rebuilds.remove_deleted)
            removed["blobs"] = await self.garbage.collect()
        except _AnotherLeadsError:
            self._looked_back_at = float("-inf")  # the next leader starts from the beginning
        found = {what: count for what, count in removed.items() if count}
        if found:
            log.info("retention.removed", **found)
        return found

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator["Connection"]:
        """A transaction in which no other process removes, followed by a pause for everybody else's work."""
        began = time.monotonic()
        async with self._database.unit_of_work() as connection:
            if not await retention.lead(connection):
                raise _AnotherLeadsError
            yield connection
        await asyncio.sleep(max(PAUSE_S, time.monotonic() - began))

    async def _rows(
        self,
        what: str,
        remove: Callable[["Connection", Stretch], Awaitable[tuple[int, UUID | None]]],
        age: timedelta,
    ) -> int:
        """Remove independent rows."""
        total = 0
        while True:
            async with self._turn() as connection:
                count, last = await remove(connection, await self._stretch(connection, what, age))
            REMOVED.labels(what).inc(count)
            total += count
            if last is None:
                return total
            self._passed[what] = last

    async def _stretch(self, connection: "Connection", what: str, age: timedelta) -> Stretch:
        before = await retention.bound(connection, age)
        return Stretch(self._passed.get(what, FIRST), before, self._settings.batch, age)

    async def _jobs(self, age: timedelta) -> int:
        total = 0
        while True:
            async with self._turn() as connection:
                rows = await retention.jobs(connection, await self._stretch(connection, "jobs", age))
            if not rows:
                return total
            single = [row["id"] for row in rows if row["expired"] and not row["has_children"]]
            if free := await self._free(single):
                total += await self._remove_jobs(free)
            for row in rows:
                # Alone: a tree may have 50,000 jobs.
                if row["expired"] and row["has_children"] and await self._free([row["id"]]):
                    total += await self._remove_tree(row["id"])
            self._passed["jobs"] = rows[-1]["id"]

    async def _free(self, roots: Sequence[UUID]) -> list[UUID]:
        """Those of the submitted jobs that nothing holds."""
        if not roots:
            return []
        async with self._turn() as connection:
            held = await retention.held(connection, roots)
            made = [row for row in await retention.files_of(connection, roots) if row["root"] not in held]
        for tenant in {row["tenant"] for row in made}:
            theirs = {row["id"]: row["root"] for row in made if row["tenant"] == tenant}
            held |= {theirs[file] for file in await self._named(tenant, list(theirs), but=roots)}
        return [root for root in roots if root not in held]

    async def _named(self, tenant: str, files: Sequence[UUID], *, but: Sequence[UUID] = ()) -> set[UUID]:
        """Those of the files that a job of the tenant, kept or live, names in its input."""
        after: UUID | None = _earlier(min(files), CLOCKS_APART)
        found: set[UUID] = set()
        while after is not None:
            async with self._turn() as connection:
                more, after = await retention.named(connection, tenant, after, LOOKED_AT, files, but)
            found |= more
        return found

    async def _remove_jobs(self, ids: Sequence[UUID]) -> int:
        async with self._turn() as connection:
            count = await retention.remove_jobs(connection, ids)
        REMOVED.labels("jobs").inc(count)
        return count

    async def _remove_tree(self, root: UUID) -> int:
        """Remove a job after all its descendants, a page at a time.

        The next full pass continues an interrupted removal.
        """
        total = 0
        parents = [root]
        while parents:
            async with self._turn() as connection:
                page = await retention.children(connection, parents[-1], self._settings.batch)
            if deeper := [row["id"] for row in page if row["has_children"]]:
                parents += deeper
            else:
                total += await self._remove_jobs([row["id"] for row in page] or [parents.pop()])
        return total

    async def _uploads(self, age: timedelta) -> int:
        total = 0
        while True:
            async with self._turn() as connection:
                rows = await retention.uploads(connection, await self._stretch(connection, "uploads", age))
            if not rows:
                return total
            for tenant in {row["tenant"] for row in rows if row["expired"]}:
                expired = [row["id"] for row in rows if row["expired"] and row["tenant"] == tenant]
                named = await self._named(tenant, expired)
                free = [file for file in expired if file not in named]
                async with self._turn() as connection:
                    await retention.remove_uploads(connection, free)
                REMOVED.labels("uploads").inc(len(free))
                total += len(free)
            self._passed["uploads"] = rows[-1]["id"]

    async def _embeddings(self, age: timedelta) -> int:
        """Remove cached vectors that are not used."""
        return await self._all("embeddings", lambda connection, limit: embeddings.remove_unused(connection, age, limit))

    async def _judgements(self, age: timedelta) -> int:
        """Remove a judge's answers that are not used."""
        return await self._all("judgements", lambda connection, limit: judgements.remove_unused(connection, age, limit))

    async def _all(self, what: str, remove: Callable[["Connection", int], Awaitable[int]]) -> int:
        """Remove rows that hold their own expiry, a batch at a time."""
        total = 0
        while True:
            async with self._turn() as connection:
                count = await remove(connection, self._settings.batch)
            REMOVED.labels(what).inc(count)
            total += count
            if count < self._settings.batch:
                return total


def _earlier(id: UUID, by: timedelta) -> UUID:
    """The first UUIDv7 of a time `by` before that of `id`: its first 48 bits are milliseconds (RFC 9562, 5.7)."""
    milliseconds = (id.int >> 80) - int(by.total_seconds() * 1000)
    return UUID(int=max(milliseconds, 0) << 80)
