"""The port `Trials` in Postgres: the losses of each trial, beside those of the search's others."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

import asyncpg

from infra.postgres.database import Database
from infra.postgres.queries import trials
from schemas.lifecycle import JobState

E = TypeVar("E")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PostgresTrials(Generic[T, E]):
    """`trial` and `evaluation` build what stages work with."""

    database: Database
    trial: Callable[[UUID, str, JobState, list[E]], T]
    evaluation: Callable[[int, float, datetime], E]

    async def evaluated(self, trial: UUID, step: int, loss: float) -> list[T]:
        """Keep a loss, and give all trials of the same search."""
        async with self.database.connection() as connection:
            await trials.keep(connection, trial, step, loss)
            return self._seen(await trials.beside(connection, trial))

    async def seen(self, search: UUID) -> list[T]:
        """All trials of a search."""
        async with self.database.connection() as connection:
            return self._seen(await trials.of(connection, search))

    def _seen(self, rows: list[asyncpg.Record]) -> list[T]:
        found: dict[UUID, T] = {}
        losses: dict[UUID, list[E]] = {}
        for row in rows:
            its = losses.setdefault(row["id"], [])
            if row["id"] not in found:
                found[row["id"]] = self.trial(row["id"], row["key"], JobState(row["state"]), its)
            if row["step"] is not None:
                its.append(self.evaluation(row["step"], row["loss"], row["at"]))
        return list(found.values())
