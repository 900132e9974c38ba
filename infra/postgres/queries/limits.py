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


async def full(connection: "Connection", limit: int) -> dict[str, int]:
    """Tenants with `limit` or more waiting jobs, and how many they have."""
    return {row["tenant"]: row["jobs"] for row in await connection.fetch(FULL, limit)}
