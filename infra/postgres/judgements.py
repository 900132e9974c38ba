"""The port `Judgements` in Postgres: every worker finds what any of them was told by a judge."""

from collections.abc import Sequence
from uuid import UUID

from infra.grouping import Grouper
from infra.postgres.database import Database
from infra.postgres.queries import judgements
from schemas.errors import DependencyUnavailable


class PostgresJudgements:
    """A slice looks for all its replies at once, in one statement; each is kept by a statement of its own.

    Retention removes replies that nobody uses (`producers/retention.py`).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._finding = Grouper(self._found, fatal=(DependencyUnavailable,))

    async def find(self, key: bytes) -> str | None:
        """The reply that is kept under a key."""
        return await self._finding.call(key)

    async def keep(self, run: UUID, key: bytes, reply: str | None, tokens: int, cost: float) -> tuple[int, float]:
        """Keep a reply and charge the run; its tokens and cost up to now."""
        async with self._database.connection() as connection:
            row = await judgements.keep(connection, run, key, reply, tokens, cost)
        return row["tokens"], row["cost"]

    async def cost(self, run: UUID) -> tuple[int, float]:
        """Tokens and cost of the run up to now."""
        async with self._database.connection() as connection:
            row = await judgements.cost(connection, run)
        return (0, 0.0) if row is None else (row["tokens"], row["cost"])

    async def close(self) -> None:
        """Wait for statements under way."""
        await self._finding.close()

    async def _found(self, keys: Sequence[bytes]) -> list[str | None]:
        async with self._database.connection() as connection:
            found = await judgements.find(connection, keys)
        return [found.get(key) for key in keys]
