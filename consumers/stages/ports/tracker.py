"""The experiment tracker: where figures of jobs are kept beside those of other runs."""

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from schemas.tracking import NewRun


class Tracker(Protocol):
    """The runs of one job. What is said here reaches the tracker later, in order, whether or not it answers now.

    A run ends with its job: finished, failed or killed, as the job ended. Saying something again, as a repeated try
    does, changes nothing. Every method raises `LeaseLost` for a try whose job another worker has.
    """

    async def begin(self, run: NewRun) -> UUID | None:
        """Begin a run; the id that its tag `welip.run` holds. None where the deployment has no tracker."""

    async def log(self, key: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Add values to the run of this key, measured now. The first values of a step hold.

        Characters of names that the tracker does not take are replaced.
        """

    async def attach(self, key: str, name: str, file: str) -> None:
        """Add a file of the tenant to the run under `name`; another file of that name replaces it."""


class Trackers(Protocol):
    """The tracker for all jobs. A stage gets the `Tracker` of its own job instead."""

    def of(self, job_id: UUID, epoch: int) -> Tracker:
        """What one try may say."""
