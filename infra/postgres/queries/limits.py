"""What tenants have: jobs that wait, bytes of files."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Tenants of whom as many jobs wait as may, or more. Each half has a partial index.
FULL: Final = """
SELECT tenant, count(*) AS jobs
FROM (SELECT tenant FROM job WHERE state = 'queued' UNION ALL SELECT tenant FROM job WHERE state = 'retry_wait') waiting
GROUP BY tenant HAVING count(*) >= $1
"""

# From the index alone.
STORED_BYTES: Final = "SELECT coalesce(sum(bytes), 0)::bigint FROM file WHERE tenant = $1"


async def full(connection: "Connection", limit: int) -> dict[str, int]:
    """Tenants of whom `limit` jobs or more wait, and how many."""
    return {row["tenant"]: row["jobs"] for row in await connection.fetch(FULL, limit)}


async def stored_bytes(connection: "Connection", tenant: str) -> int:
    """How many bytes the tenant's files have together."""
    size: int = await connection.fetchval(STORED_BYTES, tenant)
    return size
