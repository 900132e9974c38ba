"""What tenants keep in object storage: files, adapters, and what jobs store, reserved before it is written."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Takers of one tenant's room take turns, so that no two find the same room.
TURN: Final = "SELECT pg_advisory_xact_lock(hashtextextended('stored bytes of ' || $1, 0))"

# Files from an index alone; adapters are few. What jobs store is kept as a sum, because it may be one blob per
# document.
BYTES: Final = """
SELECT (SELECT coalesce(sum(bytes), 0) FROM file WHERE tenant = $1)::bigint
     + (SELECT coalesce(sum(bytes), 0) FROM adapter WHERE tenant = $1 AND deleted_at IS NULL)::bigint
     + coalesce((SELECT bytes FROM stored_total WHERE tenant = $1), 0)
"""

# $4 bytes, or as many as there is room for, but no fewer than $3. No row when there is no room for $3.
RESERVE: Final = f"""
WITH granted AS (
    SELECT least($4::bigint, room.bytes) AS bytes FROM (SELECT $5::bigint - ({BYTES}) AS bytes) room
    WHERE room.bytes >= $3::bigint
), noted AS (
    INSERT INTO stored_total (tenant, bytes) SELECT $1, bytes FROM granted
    ON CONFLICT (tenant) DO UPDATE SET bytes = stored_total.bytes + excluded.bytes
)
INSERT INTO stored_blob (blob, tenant, bytes) SELECT $2, $1, bytes FROM granted
ON CONFLICT (blob) DO UPDATE SET bytes = stored_blob.bytes + excluded.bytes
RETURNING (SELECT bytes FROM granted)
"""

SETTLE: Final = """
WITH settled AS (
    UPDATE stored_blob SET bytes = $2 WHERE blob = $1 RETURNING tenant, old.bytes - new.bytes AS freed
)
UPDATE stored_total t SET bytes = t.bytes - settled.freed FROM settled WHERE t.tenant = settled.tenant
"""

# Blobs and what is below them. These operators compare bytes, whatever the database's collation; `0` comes after `/`.
# The sums are locked in the order of their tenants, because others may forget blobs at the same time.
FORGET: Final = """
WITH themselves AS (
    DELETE FROM stored_blob WHERE blob = ANY($1::text[]) RETURNING tenant, bytes
), below AS (
    DELETE FROM stored_blob s USING unnest($1::text[]) AS folder(path)
    WHERE s.blob ~>~ (folder.path || '/') AND s.blob ~<~ (folder.path || '0') RETURNING s.tenant, s.bytes
), freed AS (
    SELECT tenant, sum(bytes)::bigint AS bytes FROM (TABLE themselves UNION ALL TABLE below) gone GROUP BY tenant
), held AS (
    SELECT tenant FROM stored_total WHERE tenant = ANY(array(SELECT tenant FROM freed)) ORDER BY tenant FOR UPDATE
)
UPDATE stored_total t SET bytes = t.bytes - (SELECT bytes FROM freed WHERE freed.tenant = t.tenant)
WHERE t.tenant = ANY(array(SELECT tenant FROM held))
"""


async def stored_bytes(connection: "Connection", tenant: str) -> int:
    """How many bytes the tenant's files and what its jobs store have together."""
    size: int = await connection.fetchval(BYTES, tenant)
    return size


async def fits(connection: "Connection", tenant: str, size: int, limit: int) -> bool:
    """Whether `size` more bytes stay within `limit`; this holds until the end of the caller's transaction."""
    await connection.execute(TURN, tenant)
    return await stored_bytes(connection, tenant) + size <= limit


async def reserve(connection: "Connection", tenant: str, blob: str, need: int, wish: int, limit: int) -> int | None:
    """Reserve from `need` to `wish` bytes for a blob, in the caller's transaction; None if `need` passes `limit`."""
    await connection.execute(TURN, tenant)
    granted: int | None = await connection.fetchval(RESERVE, tenant, blob, need, wish, limit)
    return granted


async def settle(connection: "Connection", blob: str, size: int) -> None:
    """Record a blob's final size, and free what was reserved beyond it."""
    await connection.execute(SETTLE, blob, size)


async def forget(connection: "Connection", blobs: Sequence[str]) -> None:
    """Give back what was reserved for deleted blobs and for everything below them."""
    await connection.execute(FORGET, blobs)
