"""The batches in Postgres, for the stages that run them and the gateway that shows them."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, cast
from uuid import UUID

import asyncpg
import orjson

from infra.ahead import ahead
from infra.postgres.database import Database
from infra.postgres.queries import batches
from schemas.batches.output import Closing, LineEnd
from schemas.lifecycle import JobState
from schemas.outcomes import Child

PAGE: Final = 200
"""Lines in memory at once; each may have 64 KiB of result, or a megabyte of input."""
FIRST: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class PostgresBatches:
    """Implements `Batches`. No connection is held between pages."""

    database: Database

    async def begin(self, job_id: UUID, lines: int, window_s: float) -> bool:
        """Keep the window of a batch that is about to make its lines' jobs; False when it has ended."""
        async with self.database.connection() as connection:
            return await batches.begin(connection, job_id, lines, window_s)

    async def finalize(self, job_id: UUID) -> Closing | None:
        """Note that the files are written; why the batch was closed, if it was."""
        async with self.database.connection() as connection:
            return cast("Closing | None", await batches.finalize(connection, job_id))

    async def counts(self, job_id: UUID, tenant: str) -> dict[JobState, int]:
        """How many lines of a tenant's batch are in each state."""
        async with self.database.connection() as connection:
            found = await batches.counts(connection, job_id, tenant)
        return {JobState(state): count for state, count in found.items()}

    async def ends(self, job_id: UUID, *states: JobState) -> AsyncIterator[LineEnd]:
        """The lines that ended in one of these states, by state, then in the order of the input."""
        for state in states:
            async with aclosing(ahead(self._pages(job_id, state))) as pages:
                async for page in pages:
                    for row in page:
                        yield LineEnd(**{**row, "state": state})

    async def _pages(self, job_id: UUID, state: JobState) -> AsyncIterator[list[asyncpg.Record]]:
        after = FIRST
        while True:
            async with self.database.connection() as connection:
                rows = await batches.ends(connection, job_id, state.value, after, PAGE)
            yield rows
            if len(rows) < PAGE:
                break
            after = rows[-1]["id"]

    async def undone(self, job_id: UUID, tenant: str) -> AsyncIterator[Child]:
        """The lines of a tenant's batch that did not succeed, as they are to be done again."""
        for state in (JobState.FAILED, JobState.CANCELLED):
            after = FIRST
            while True:
                async with self.database.connection() as connection:
                    rows = await batches.undone(connection, job_id, tenant, state.value, after, PAGE)
                for row in rows:
                    yield Child(
                        row["kind"],
                        orjson.loads(row["input"]),
                        key=row["key"],
                        max_attempts=row["max_attempts"],
                        timeout_s=row["timeout_s"],
                    )
                if len(rows) < PAGE:
                    break
                after = rows[-1]["id"]
