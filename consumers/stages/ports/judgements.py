"""What judges said before, and what a run has paid for it."""

from typing import Protocol
from uuid import UUID


class Judgements(Protocol):
    """Usable replies by a hash of all that was asked, shared by all workers; and the costs of each run."""

    async def find(self, key: bytes) -> str | None:
        """The reply that is kept under a key."""

    async def keep(self, run: UUID, key: bytes, reply: str | None, tokens: int, cost: float) -> tuple[int, float]:
        """Keep a reply and charge the run for it; its tokens and cost up to now. A reply of None is only charged."""

    async def cost(self, run: UUID) -> tuple[int, float]:
        """Tokens and cost of the run up to now."""
