"""What tenants have waiting, to be held against their limits."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Tenants with as many waiting jobs as they may have, or more. Each half has a partial index.
FULL: Final = """
SELECT tenant, count(*) AS jobs
FROM (SELECT tenant FROM job WHERE state = 'queued' UNION ALL SELECT tenant FROM job WHERE state = 'retry_wait') waiting
GROUP BY tenant HAVING count(*) >= $1
"""


# How many jobs of a tenant wait for a worker in the lane interactive, up to $2. The index of queued jobs by
# `summoned_at` leaves out the held ones, which may be very many; in Kafka there are never many of bulk.
INTERACTIVE: Final = """
SELECT count(*) FROM (
    SELECT FROM job WHERE state = 'queued' AND summoned_at IS NOT NULL AND lane = 'interactive' AND tenant = $1 LIMIT $2
) few
"""


async def full(connection: "Connection", limit: int) -> dict[str, int]:
    """Tenants with `limit` or more waiting jobs, and how many they have."""
    return {row["tenant"]: row["jobs"] for row in await connection.fetch(FULL, limit)}


async def interactive(connection: "Connection", tenant: str, most: int) -> int:
    """How many jobs of a tenant wait for a worker in the lane interactive; `most` when there are more."""
    return int(await connection.fetchval(INTERACTIVE, tenant, most))
