"""The spool of the experiment tracker: what stages say is kept in Postgres until MLflow has it."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from infra.postgres.database import Database
from infra.postgres.queries import tracking
from schemas.errors import LeaseLost
from schemas.tracking import NewRun, run_id

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PostgresTrackers:
    """Implements `Trackers` for this `worker`. `most`: entries that may wait in all; later ones are left out."""

    database: Database
    worker: str
    most: int

    def of(self, job_id: UUID, epoch: int) -> "JobTracker":
        """What one try may say."""
        return JobTracker(self, job_id, epoch)


@dataclass(frozen=True, slots=True)
class JobTracker:
    """Implements `Tracker` for one try of a job."""

    trackers: PostgresTrackers
    job_id: UUID
    epoch: int

    async def begin(self, run: NewRun) -> UUID | None:
        """Begin a run; its id."""
        made = run_id(self.job_id, run.key)
        parent = None if run.parent is None else run_id(self.job_id, run.parent)
        async with self.trackers.database.connection() as connection:
            ours = await tracking.begin(
                connection, self._fence, made, parent, run.experiment, run.name, run.tags, run.params
            )
        self._check(ours)
        return made

    async def log(self, key: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Add values to a run; the first values of a step hold."""
        names = hashlib.sha256("\n".join(sorted(metrics)).encode()).hexdigest()[:16]
        values = {name: value if math.isfinite(value) else _SPECIAL[str(value)] for name, value in metrics.items()}
        await self._add(key, f"metrics/{step}/{names}", {"metrics": values, "step": step})

    async def attach(self, key: str, name: str, file: str) -> None:
        """Add a file to a run; another one of the name is replaced."""
        await self._add(key, f"file/{name}", {"file": file, "name": name}, replace=True)

    async def _add(self, run: str, key: str, data: dict[str, Any], *, replace: bool = False) -> None:
        async with self.trackers.database.connection() as connection:
            said = await tracking.add(
                connection, self._fence, run_id(self.job_id, run), key, data, self.trackers.most, replace=replace
            )
        self._check(said.ours)
        if not said.room:
            log.warning("tracking.full", entries=self.trackers.most)

    @property
    def _fence(self) -> tuple[UUID, int, str]:
        return self.job_id, self.epoch, self.trackers.worker

    def _check(self, ours: bool) -> None:
        if not ours:
            raise LeaseLost(f"job_{self.job_id.hex} is another worker's now: nothing is tracked for it")


_SPECIAL = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""JSON has no such numbers; MLflow takes these texts."""


class NotTracked:
    """Implements `Trackers` and `Tracker` where the deployment has no tracker: nothing is kept."""

    def of(self, job_id: UUID, epoch: int) -> "NotTracked":
        """The same for every job."""
        return self

    async def begin(self, run: NewRun) -> UUID | None:
        """Nothing begins."""
        return None

    async def log(self, key: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Nothing is kept."""

    async def attach(self, key: str, name: str, file: str) -> None:
        """Nothing is kept."""
