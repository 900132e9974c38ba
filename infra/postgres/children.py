"""Reads the children of a fan-out from Postgres, for the stage that sums them up."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

import orjson

from infra.postgres.database import Database
from infra.postgres.queries import reading
from schemas.lifecycle import JobState
from schemas.outcomes import Child

C = TypeVar("C")

PAGE = 500


@dataclass(frozen=True, slots=True)
class PostgresChildren(Generic[C]):
    """Reads the children of fan-outs. `summary` builds the summary of a child that stages work with."""

    database: Database
    summary: Callable[..., C]

    async def results(self, job_id: UUID, round: int | None = None) -> AsyncIterator[C]:
        """Every child of a fan-out, in the order of their creation; no connection is held between pages."""
        after: UUID | None = None
        while True:
            async with self.database.connection() as connection:
                rows = await reading.child_results(connection, job_id, round, after, PAGE)
            for row in rows:
                yield self.summary(
                    key=row["key"],
                    kind=row["kind"],
                    round=row["round"],
                    state=JobState(row["state"]),
                    input=orjson.loads(row["input"]),
                    result=orjson.loads(row["result"]) if row["result"] else None,
                    error=orjson.loads(row["error"]) if row["error"] else None,
                    id=row["id"],
                )
            if len(rows) < PAGE:
                return
            after = rows[-1]["id"]

    async def failed(self, job_id: UUID, round: int) -> AsyncIterator[Child]:
        """The children of one fan-out that failed although trying again can help, as they are to be done again."""
        after: UUID | None = None
        while True:
            async with self.database.connection() as connection:
                rows = await reading.children_to_repeat(connection, job_id, round, after, PAGE)
            for row in rows:
                yield Child(
                    row["kind"],
                    orjson.loads(row["input"]),
                    key=row["key"],
                    max_attempts=row["max_attempts"],
                    timeout_s=row["timeout_s"],
                )
            if len(rows) < PAGE:
                return
            after = rows[-1]["id"]
