"""The children of a fan-out, for the stage that sums them up."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ChildSummary:
    """How one child of a fan-out ended: its result, or its error."""

    input: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None


class Children(Protocol):
    """Reads the children of a fan-out back, for the stage that sums them up."""

    def results(self, job_id: UUID) -> AsyncIterator[ChildSummary]:
        """Every child of the job, in the order they were made, a page at a time from Postgres."""
