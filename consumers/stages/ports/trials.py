"""The trials of a search, seen while they run: each tells its held-out losses, and is compared with the others'."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from schemas.lifecycle import JobState


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The held-out loss after so many steps, and when it was first measured."""

    step: int
    loss: float
    at: datetime


@dataclass(frozen=True, slots=True)
class SeenTrial:
    """A trial, perhaps still running. `key`: its name in the search. `evaluations`: in the order of their steps."""

    id: UUID
    key: str
    state: JobState
    evaluations: list[Evaluation] = field(default_factory=list)


class Trials(Protocol):
    """The trials of all searches."""

    async def evaluated(self, trial: UUID, step: int, loss: float) -> list[SeenTrial]:
        """Keep a loss of a trial, and give all trials of its search, itself among them, in the order they were made.

        A step that is trained again, as after a restart, keeps its first loss.
        """

    async def seen(self, search: UUID) -> list[SeenTrial]:
        """All trials of a search, in the order they were made."""
