"""What a job knows of its children, of earlier answers and of its owner's wishes, and its tracker, in memory."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from consumers.stages.ports import ChildSummary, KnownAnswer
from schemas.errors import DependencyUnavailable
from schemas.lifecycle import JobState
from schemas.outcomes import Child
from schemas.tracking import NewRun, run_id


@dataclass
class MemoryChildren:
    """The children of one job."""

    summaries: list[ChildSummary] = field(default_factory=list)

    async def results(self, job_id: UUID, round: int | None = None) -> AsyncIterator[ChildSummary]:
        last = max((summary.round for summary in self.summaries), default=1)
        for summary in self.summaries:
            if summary.round == (round or last):
                yield summary

    async def failed(self, job_id: UUID, round: int) -> AsyncIterator[Child]:
        async for one in self.results(job_id, round):
            if one.state is JobState.FAILED and one.error is not None and one.error["retryable"]:
                yield Child(one.kind, one.input, key=one.key)


@dataclass
class MemoryAnswers:
    """Answers as long as the children that gave them are there."""

    results: dict[UUID, KnownAnswer] = field(default_factory=dict)
    known: dict[tuple[str, bytes], UUID] = field(default_factory=dict)

    async def find(self, tenant: str, addresses: Sequence[bytes]) -> dict[bytes, KnownAnswer]:
        jobs = {address: self.known.get((tenant, address)) for address in addresses}
        return {address: self.results[job] for address, job in jobs.items() if job in self.results}

    async def remember(self, tenant: str, answers: Mapping[bytes, UUID]) -> None:
        self.known |= {(tenant, address): job for address, job in answers.items()}


@dataclass
class MemoryTracker:
    """The runs of one job, by their keys; `off`: the deployment has no tracker."""

    runs: dict[str, NewRun] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    """Of each run and step; the first values of a step hold."""
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    off: bool = False
    away: bool = False

    def of(self, job_id: UUID, epoch: int) -> "MemoryTracker":
        return self

    async def begin(self, run: NewRun) -> UUID | None:
        self._reached()
        if self.off:
            return None
        assert run.parent is None or run.parent in self.runs
        self.runs.setdefault(run.key, run)
        return run_id(UUID(int=0), run.key)

    async def log(self, key: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        self._reached()
        assert key in self.runs
        self.metrics.setdefault(key, {}).update(metrics)
        at = self.curves.setdefault((key, step), {})
        at |= {name: value for name, value in metrics.items() if name not in at}

    async def attach(self, key: str, name: str, file: str) -> None:
        self._reached()
        assert key in self.runs
        self.files[key, name] = file

    def _reached(self) -> None:
        if self.away:
            raise DependencyUnavailable("away")


@dataclass
class MemorySteering:
    """What the owner of every job asks."""

    pause: bool = False

    async def paused(self, job_id: UUID) -> bool:
        return self.pause
