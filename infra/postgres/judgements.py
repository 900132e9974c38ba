"""The port `Judgements` in Postgres: every worker finds what any of them was told by a judge."""

from uuid import UUID

from infra.postgres.database import Database
from infra.postgres.queries import judgements


class PostgresJudgements:
    """One statement a call. Retention removes replies that nobody uses (`producers/retention.py`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: bytes) -> str | None:
        """The reply that is kept under a key."""
        async with self._database.connection() as connection:
            return await judgements.find(connection, key)

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
