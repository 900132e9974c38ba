"""What owners asked of a job while it runs, for the stages that heed it."""

from dataclasses import dataclass
from uuid import UUID

from infra.postgres.database import Database
from infra.postgres.queries import steering


@dataclass(frozen=True, slots=True)
class PostgresSteering:
    """Implements `Steering`."""

    database: Database

    async def paused(self, job_id: UUID) -> bool:
        """Whether its owner has paused the job."""
        async with self.database.connection() as connection:
            return await steering.is_paused(connection, job_id)
