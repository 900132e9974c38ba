"""Owners manage webhooks: endpoints, signing secrets, the delivery log. No statement returns a stored secret."""

from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from schemas.webhooks import MAX_ENDPOINTS, REPLAY_AT_MOST, TEST_EVENT

if TYPE_CHECKING:
    from datetime import datetime

    from infra.postgres.database import Connection

ENDPOINT_COLUMNS: Final = """id, url, description, events, created_at, failing_since, disabled_at, disabled_reason,
    CASE WHEN previous_until > now() THEN previous_until END AS previous_until"""

# One tenant's new endpoints wait for each other until the end of the caller's transaction; otherwise two that are made
# at once could both be the last one allowed.
ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoint ' || $1, 0))"

# No row: the tenant has as many as it may have.
ADD_ENDPOINT: Final = f"""
INSERT INTO webhook_endpoint (id, tenant, url, description, events, secret)
SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text[], $6::text
WHERE (SELECT count(*) FROM webhook_endpoint WHERE tenant = $2) < {MAX_ENDPOINTS}
RETURNING {ENDPOINT_COLUMNS}
"""
ENDPOINT: Final = f"SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoint WHERE id = $1 AND tenant = $2"
ENDPOINTS: Final = f"SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoint WHERE tenant = $1 ORDER BY id DESC"

# Null changes nothing. Enabling forgives earlier failures; why an endpoint was first disabled is kept.
CHANGE_ENDPOINT: Final = f"""
UPDATE webhook_endpoint SET
    url = coalesce($3, url),
    description = coalesce($4, description),
    events = coalesce($5, events),
    failing_since = CASE WHEN $6 THEN NULL ELSE failing_since END,
    disabled_at = CASE WHEN $6 THEN NULL WHEN NOT $6 THEN coalesce(disabled_at, now()) ELSE disabled_at END,
    disabled_reason = CASE WHEN $6 THEN NULL WHEN NOT $6 THEN coalesce(disabled_reason, 'owner')
                           ELSE disabled_reason END
WHERE id = $1 AND tenant = $2 RETURNING {ENDPOINT_COLUMNS}
"""

# Its deliveries and their log go with it, through the foreign keys.
REMOVE_ENDPOINT: Final = "DELETE FROM webhook_endpoint WHERE id = $1 AND tenant = $2 RETURNING id"

# The present secret stays valid as the previous one for $4 seconds; with 0 it is forgotten.
ROTATE: Final = """
UPDATE webhook_endpoint SET
    previous_secret = CASE WHEN $4::float8 > 0 THEN secret END,
    previous_until = CASE WHEN $4::float8 > 0 THEN now() + make_interval(secs => $4::float8) END,
    secret = $3
WHERE id = $1 AND tenant = $2 RETURNING id, previous_until
"""

# The same for the secret of jobs' own receivers; the tenant gets its row and secret here if it has none.
ROTATE_TENANTS: Final = """
INSERT INTO tenant (id, webhook_secret) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET
    webhook_previous_secret = CASE WHEN $3::float8 > 0 THEN tenant.webhook_secret END,
    webhook_previous_until = CASE WHEN $3::float8 > 0 AND tenant.webhook_secret IS NOT NULL
                                  THEN now() + make_interval(secs => $3::float8) END,
    webhook_secret = excluded.webhook_secret
RETURNING webhook_previous_until
"""
HAS_SECRET: Final = "SELECT webhook_secret IS NOT NULL FROM tenant WHERE id = $1"

DELIVERY: Final = """
SELECT d.id, d.type, d.state, d.endpoint, coalesce(d.url, e.url) AS url, d.job_id, d.attempts, d.data, d.due_at,
    d.created_at, d.ended_at
FROM webhook_delivery d LEFT JOIN webhook_endpoint e ON e.id = d.endpoint
"""
ONE_DELIVERY: Final = f"{DELIVERY} WHERE d.id = $1 AND d.tenant = $2"

# A page, newest first, of a tenant's or of an endpoint's deliveries: two statements, because each has its own index.
DELIVERIES: Final = f"""{DELIVERY}
WHERE d.tenant = $1 AND ($2::uuid IS NULL OR d.job_id = $2) AND ($3::text IS NULL OR d.state = $3)
    AND ($4::uuid IS NULL OR d.id < $4)
ORDER BY d.id DESC LIMIT $5
"""
DELIVERIES_OF_ENDPOINT: Final = f"""{DELIVERY}
WHERE d.tenant = $1 AND d.endpoint = $2 AND ($3::text IS NULL OR d.state = $3) AND ($4::uuid IS NULL OR d.id < $4)
ORDER BY d.id DESC LIMIT $5
"""
ATTEMPTS: Final = """
SELECT attempt, at, status, error, answer, ms FROM webhook_attempt WHERE delivery = $1 ORDER BY attempt
"""

# Sends a delivery again under the same id, at once and with the whole schedule of retries, whatever its state. No row:
# it is not the tenant's, or its endpoint is disabled.
REPLAY: Final = """
UPDATE webhook_delivery d SET state = 'pending', attempts = 0, due_at = now(), ended_at = NULL
WHERE d.id = $1 AND d.tenant = $2
    AND NOT EXISTS (SELECT 1 FROM webhook_endpoint e WHERE e.id = d.endpoint AND e.disabled_at IS NOT NULL)
RETURNING d.id
"""

# The same for an endpoint's failed deliveries, oldest first. A replayed delivery is no longer failed, so the next call
# continues with the rest.
REPLAY_FAILED: Final = f"""
WITH failed AS (
    SELECT id FROM webhook_delivery
    WHERE endpoint = $1 AND tenant = $2 AND state = 'failed' AND created_at >= $3
    ORDER BY id LIMIT {REPLAY_AT_MOST} FOR UPDATE SKIP LOCKED
)
UPDATE webhook_delivery d SET state = 'pending', attempts = 0, due_at = now(), ended_at = NULL
FROM failed WHERE d.id = failed.id RETURNING d.id
"""

# An event that is about no job. No row: the tenant has no such endpoint, or it is disabled.
TEST: Final = f"""
INSERT INTO webhook_delivery (tenant, endpoint, destination, type, data)
SELECT tenant, id, id::text, '{TEST_EVENT}', json_build_object('id', 'wh_' || replace(id::text, '-', ''))
FROM webhook_endpoint WHERE id = $1 AND tenant = $2 AND disabled_at IS NULL
RETURNING id
"""


async def add_endpoint(
    connection: "Connection", id: UUID, tenant: str, *, url: str, description: str, events: list[str], secret: str
) -> asyncpg.Record | None:
    """Record an endpoint, in a transaction; None when the tenant already has `MAX_ENDPOINTS`."""
    await connection.execute(ONE_AT_A_TIME, tenant)
    return await connection.fetchrow(ADD_ENDPOINT, id, tenant, url, description, events, secret)


async def endpoint(connection: "Connection", id: UUID, tenant: str) -> asyncpg.Record | None:
    """An endpoint of the tenant."""
    return await connection.fetchrow(ENDPOINT, id, tenant)


async def endpoints(connection: "Connection", tenant: str) -> list[asyncpg.Record]:
    """The tenant's endpoints, newest first."""
    return await connection.fetch(ENDPOINTS, tenant)


async def change_endpoint(
    connection: "Connection",
    id: UUID,
    tenant: str,
    *,
    url: str | None = None,
    description: str | None = None,
    events: list[str] | None = None,
    enabled: bool | None = None,
) -> asyncpg.Record | None:
    """Change an endpoint; returns it, or None when it does not exist."""
    return await connection.fetchrow(CHANGE_ENDPOINT, id, tenant, url, description, events, enabled)


async def remove_endpoint(connection: "Connection", id: UUID, tenant: str) -> bool:
    """Remove an endpoint; returns whether it existed."""
    return await connection.fetchval(REMOVE_ENDPOINT, id, tenant) is not None


async def rotate(
    connection: "Connection", id: UUID, tenant: str, *, secret: str, overlap_s: float
) -> asyncpg.Record | None:
    """Replace the secret; returns `previous_until` by the database's clock, or None when there is no such endpoint."""
    return await connection.fetchrow(ROTATE, id, tenant, secret, overlap_s)


async def rotate_tenants(connection: "Connection", tenant: str, *, secret: str, overlap_s: float) -> "datetime | None":
    """Replace the tenant's secret; returns until when the previous one signs, or None when there is none."""
    until: datetime | None = await connection.fetchval(ROTATE_TENANTS, tenant, secret, overlap_s)
    return until


async def has_secret(connection: "Connection", tenant: str) -> bool:
    """Whether the events of jobs that name their own receiver can be signed."""
    return bool(await connection.fetchval(HAS_SECRET, tenant))


async def delivery(connection: "Connection", id: UUID, tenant: str) -> asyncpg.Record | None:
    """A delivery of the tenant."""
    return await connection.fetchrow(ONE_DELIVERY, id, tenant)


async def deliveries(
    connection: "Connection", tenant: str, *, job: UUID | None, state: str | None, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """A page of the tenant's deliveries, newest first."""
    return await connection.fetch(DELIVERIES, tenant, job, state, after, limit)


async def deliveries_of_endpoint(
    connection: "Connection", tenant: str, endpoint: UUID, *, state: str | None, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """A page of an endpoint's deliveries, newest first."""
    return await connection.fetch(DELIVERIES_OF_ENDPOINT, tenant, endpoint, state, after, limit)


async def attempts(connection: "Connection", delivery: UUID) -> list[asyncpg.Record]:
    """A delivery's attempts, in order."""
    return await connection.fetch(ATTEMPTS, delivery)


async def replay(connection: "Connection", id: UUID, tenant: str) -> bool:
    """Send a delivery again; False unless it is the tenant's and its endpoint, if it has one, is enabled."""
    return await connection.fetchval(REPLAY, id, tenant) is not None


async def replay_failed(connection: "Connection", endpoint: UUID, tenant: str, since: "datetime") -> int:
    """Send failed deliveries again, at most `REPLAY_AT_MOST` per call; returns how many."""
    return len(await connection.fetch(REPLAY_FAILED, endpoint, tenant, since))


async def send_test(connection: "Connection", endpoint: UUID, tenant: str) -> UUID | None:
    """Send a test event; returns its delivery, or None when there is no such endpoint or it is disabled."""
    made: UUID | None = await connection.fetchval(TEST, endpoint, tenant)
    return made
