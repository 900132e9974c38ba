"""Blobs that are deleted by themselves: the list of garbage knows when."""

from dataclasses import dataclass
from datetime import timedelta

from infra.postgres.database import Database
from infra.postgres.queries import garbage


@dataclass(frozen=True, slots=True)
class PostgresExpiry:
    """Implements `Expiry`."""

    database: Database

    async def expire(self, key: str, after: timedelta) -> None:
        """Delete the blob after this time."""
        async with self.database.connection() as connection:
            await garbage.expire(connection, key, after)
