"""What the owner of a job asks of it while it runs."""

from typing import Protocol
from uuid import UUID


class Steering(Protocol):
    """For stages that take hours: the registry of kinds says which of them heed a pause."""

    async def paused(self, job_id: UUID) -> bool:
        """Whether its owner has paused the job. Such a stage then ends with `Snooze(UNTIL_RESUMED)`."""
