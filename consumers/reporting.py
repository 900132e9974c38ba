"""Writes a stage's live progress to the job's row: a few writes per second, and always the last one."""

import contextlib
import time
from collections.abc import Mapping
from typing import Final

from infra.postgres.database import Database
from infra.postgres.queries import claim
from infra.postgres.queries.claim import Claimed
from schemas.errors import DependencyUnavailable

PAUSE_S: Final = 0.5


class Reporter:
    """What a stage calls as `job.report`."""

    def __init__(self, database: Database, row: Claimed) -> None:
        self._database = database
        self._row = row
        self._next = 0.0

    async def __call__(
        self, done: int, total: int, message: str | None, metrics: Mapping[str, float] | None = None, /
    ) -> None:
        """Record `done` of `total`, unless the last report was just now and this one has no metrics."""
        now = time.monotonic()
        if now < self._next and done < total and metrics is None:
            return
        self._next = now + PAUSE_S
        row = self._row
        with contextlib.suppress(DependencyUnavailable):  # progress is a courtesy: the work must not fail for it
            async with self._database.connection() as connection:
                await claim.progress(connection, row.id, row.epoch, done, total, message, metrics, worker=row.worker)
