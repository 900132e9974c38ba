"""What a stage is told about its job, and how it reports back while it works."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from consumers.stages.ports import Ports, Transcript
from schemas.outcomes import Outcome
from schemas.requester import Requester
from schemas.topics import Lane

In = TypeVar("In", covariant=True)
Carry = TypeVar("Carry", covariant=True)


class Report(Protocol):
    """`await job.report(done, total, message, metrics)`: live progress.

    It is cheap: of reports without `metrics` at most a few a second reach Postgres. `metrics`, by name, go into the
    job's event; a stage that has them reports once a second at most.
    """

    async def __call__(
        self, done: int, total: int, message: str | None, metrics: Mapping[str, float] | None = None, /
    ) -> None:
        """Report `done` of `total`."""


async def _silent(done: int, total: int, message: str | None, metrics: Mapping[str, float] | None = None, /) -> None:
    """Discards progress."""


class Unread:
    """Discards a text."""

    def begin(self) -> None:
        """Nobody reads it."""

    def write(self, text: str) -> None:
        """Nobody reads it."""

    async def settle(self, text: str) -> None:
        """Nobody reads it."""


@dataclass(frozen=True, slots=True)
class StageJob(Generic[In, Carry]):
    """A claimed job as its stage sees it.

    `input` and `carry`, from the stage before, are of the models that the registry of kinds names for this stage;
    `carry` is None where it names none. `attempt` counts the tries of this stage from 1; `epoch` is the fencing token.
    `rounds`: how many fan-outs the job has made. `model`: the one that it runs on, by its name in the deployment; None
    for a job of a version that knew no models, which the default runs. A stage that was cancelled sees
    `asyncio.CancelledError` at its next await.
    """

    id: UUID
    tenant: str
    kind: str
    stage: str
    lane: Lane
    attempt: int
    epoch: int
    rounds: int
    input: In
    carry: Carry
    created_at: datetime
    started_at: datetime
    model: str | None = None
    report: Report = field(default=_silent)
    transcript: Transcript = field(default_factory=Unread)
    """The text while it is written, if the submission asks for it: `consumers/stages/ports/transcript.py`."""

    @property
    def requester(self) -> Requester:
        """For whom shared processes work when they work for this job."""
        return Requester(self.tenant, self.lane, self.started_at.timestamp())

    @property
    def folder(self) -> str:
        """The blob prefix this try may write under; the epoch in it keeps a stale try's artifacts apart."""
        return f"{self.tenant}/jobs/{self.id.hex}/{self.epoch}"


Stage = Callable[[StageJob[Any, Any], Ports], Awaitable[Outcome]]
"""`async def run(job, ports) -> Outcome` in each stage's module; it raises a `JobError` or returns one outcome."""
