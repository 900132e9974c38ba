"""What a stage is told about its job, and how it reports back while it works."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from consumers.stages.ports import Ports
from schemas.outcomes import Outcome
from schemas.topics import Lane


async def _silent(done: int, total: int, message: str | None) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True, slots=True)
class StageJob:
    """A claimed job as its stage sees it.

    `input` was checked by the gateway (or made by the parent's stage); `carry` came from the stage before. `attempt`
    counts the tries of this stage from 1; `epoch` is the fencing token. A stage that was cancelled sees
    `asyncio.CancelledError` at its next await.
    """

    id: UUID
    tenant: str
    kind: str
    stage: str
    lane: Lane
    attempt: int
    epoch: int
    input: dict[str, Any]
    carry: dict[str, Any]
    created_at: datetime
    started_at: datetime
    report: Callable[[int, int, str | None], Awaitable[None]] = field(default=_silent)
    """`await job.report(done, total, message)`: live progress; cheap, at most a few writes a second reach Postgres."""

    @property
    def folder(self) -> str:
        """The blob prefix this try may write under; the epoch in it keeps a stale try's artifacts apart."""
        return f"{self.tenant}/jobs/{self.id.hex}/{self.epoch}"


Stage = Callable[[StageJob, Ports], Awaitable[Outcome]]
"""`async def run(job, ports) -> Outcome` in each stage's module; it raises a `JobError` or returns one outcome."""
