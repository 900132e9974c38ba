"""What a batch keeps beside its job: its window, why it is closed, and how its lines ended."""

from collections.abc import AsyncIterator
from typing import Protocol
from uuid import UUID

from schemas.batches.output import Closing, LineEnd
from schemas.lifecycle import JobState
from schemas.outcomes import Child


class Batches(Protocol):
    """The batches of all tenants."""

    async def begin(self, job_id: UUID, lines: int, window_s: float) -> bool:
        """Keep the window, in seconds since the submission, of a batch that is about to make the jobs of its lines.

        False when it has ended already. A repeated try changes nothing.
        """

    async def finalize(self, job_id: UUID) -> Closing | None:
        """Note that the files are written; why the batch was closed, if it was."""

    async def counts(self, job_id: UUID, tenant: str) -> dict[JobState, int]:
        """How many lines of a tenant's batch are in each state."""

    def ends(self, job_id: UUID, *states: JobState) -> AsyncIterator[LineEnd]:
        """The lines that ended in one of these states, by state, then in the order of the input.

        A page at a time from Postgres.
        """

    def undone(self, job_id: UUID, tenant: str) -> AsyncIterator[Child]:
        """The lines of a tenant's batch that did not succeed, as they are to be done again; a page at a time."""
