"""Optuna, which chooses the trials of a search."""

from typing import Protocol


class Optimiser(Protocol):
    """Whether `import optuna` works in this process."""

    async def ready(self) -> None:
        """From now on it works. Raises `DependencyMissing`, with the remedy."""
