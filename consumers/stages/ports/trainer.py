"""Trains a model, in a process of its own."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from schemas.kinds.training.plan import Frame, TrainingPlan
from schemas.models import LocalModel

Base = TypeVar("Base", bound=LocalModel)


class Trainer(Protocol):
    """The one training of this worker."""

    def workspace(self) -> AbstractAsyncContextManager[Path]:
        """An empty folder on this machine, removed at the end."""

    def check(self, nodes: int) -> None:
        """Raise `InvalidInput` (`nodes_unavailable`) unless a training can have so many nodes here."""

    async def ready(self) -> bool:
        """Whether this machine can begin at once; False: `prepare` takes minutes."""

    async def prepare(self) -> None:
        """Make what training needs on this machine. Raises `DependencyMissing`."""

    async def here(self, base: Base) -> Base:
        """The model with its weights on this machine, if they are in object storage.

        Raises `Conflict` (`weights_missing`, `weights_differ`).
        """

    def run(self, plan: TrainingPlan) -> AsyncGenerator[Frame]:
        """Run a plan and pass on what its process tells; the last frame is `Ended`, `Stopped` or `Failed`.

        Closing the generator kills the process and all that it started. As soon as this worker is told to stop, it
        makes the plan's stop file. Raises `TrainingBroke` for a process that died without a word.
        """
