"""Deliveries of webhooks on a test's own database, and when they are due."""

import pytest

from consumers.webhooks.deliverer import LEASE_MARGIN
from infra.postgres.database import Database
from infra.postgres.queries import deliveries
from tests.integration.outgoing import SETTINGS, Outgoing

LEASE_S = (SETTINGS.timeout + LEASE_MARGIN).total_seconds()


@pytest.fixture
def outgoing(database: Database) -> Outgoing:
    return Outgoing(database)


async def claim(outgoing: Outgoing, limit: int = 10) -> list[str]:
    """Claim what is due, as a deliverer does that dies after it; returns the ids."""
    async with outgoing.database.connection() as connection:
        rows = await deliveries.claim(connection, rooms={}, room=4, limit=limit, lease_s=LEASE_S)
    return [f"evt_{row['id'].hex}" for row in rows]


async def due_in_s(outgoing: Outgoing, id: str) -> float:
    [row] = await outgoing.jobs.fetch(
        "SELECT extract(epoch FROM due_at - now())::float8 AS s FROM webhook_delivery WHERE id = $1",
        (await outgoing.row(id))["id"],
    )
    return float(row["s"])
