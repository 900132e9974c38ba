"""The children of a fan-out, for the stage that sums them up."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from schemas.lifecycle import JobState
from schemas.outcomes import Child


@dataclass(frozen=True, slots=True)
class ChildSummary:
    """The state of one child of a fan-out: its result, or its error; a cancelled one has neither.

    `key`: its parent's name for it. `round`: which of its parent's fan-outs made it, from 1. `state`: an ended one,
    when the stage after the fan-out asks. A result over 64 KiB is `{"file": "file_..."}`.
    """

    key: str
    kind: str
    round: int
    state: JobState
    input: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    id: UUID


class Children(Protocol):
    """Reads the children of a fan-out back, for the stage that sums them up."""

    def results(self, job_id: UUID, round: int | None = None) -> AsyncIterator[ChildSummary]:
        """Every child of one fan-out of the job, of its last one by default, in the order they were made.

        A page at a time from Postgres.
        """

    def failed(self, job_id: UUID, round: int) -> AsyncIterator[Child]:
        """The children of one fan-out that failed although trying again can help, as they are to be done again.

        In the order they were made, a page at a time from Postgres.
        """
