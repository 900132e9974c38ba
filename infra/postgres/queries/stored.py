"""What tenants keep in object storage: their files, and what jobs store beside them, reserved before it is written."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Whoever takes room of one tenant takes turns, so that no two find the same.
TURN: Final = "SELECT pg_advisory_xact_lock(hashtextextended('stored bytes of ' || $1, 0))"

# Both from their indexes alone.
BYTES: Final = """
SELECT (SELECT coalesce(sum(bytes), 0) FROM file WHERE tenant = $1)::bigint
     + (SELECT coalesce(sum(bytes), 0) FROM stored_blob WHERE tenant = $1)::bigint
"""

# $4 bytes, or as many of them as there is room for, but no fewer than $3. No row: there is no room for these.
RESERVE: Final = f"""
WITH granted AS (
    SELECT least($4::bigint, room.bytes) AS bytes FROM (SELECT $5::bigint - ({BYTES}) AS bytes) room
    WHERE room.bytes >= $3::bigint
)
INSERT INTO stored_blob (blob, tenant, bytes) SELECT $2, $1, bytes FROM granted
ON CONFLICT (blob) DO UPDATE SET bytes = stored_blob.bytes + excluded.bytes
RETURNING (SELECT bytes FROM granted)
"""

SETTLE: Final = "UPDATE stored_blob SET bytes = $2 WHERE blob = $1"

# Blobs, and what lies below them. The operators compare bytes, whatever the database's collation; `0` comes after `/`.
FORGET: Final = """
WITH themselves AS (DELETE FROM stored_blob WHERE blob = ANY($1::text[]))
DELETE FROM stored_blob s USING unnest($1::text[]) AS folder(path)
WHERE s.blob ~>~ (folder.path || '/') AND s.blob ~<~ (folder.path || '0')
"""


async def stored_bytes(connection: "Connection", tenant: str) -> int:
    """How many bytes the tenant's files have, and what its jobs store, together."""
    size: int = await connection.fetchval(BYTES, tenant)
    return size


async def fits(connection: "Connection", tenant: str, size: int, limit: int) -> bool:
    """Whether `size` bytes more stay within `limit`; it remains so to the end of the caller's transaction."""
    await connection.execute(TURN, tenant)
    return await stored_bytes(connection, tenant) + size <= limit


async def reserve(connection: "Connection", tenant: str, blob: str, need: int, wish: int, limit: int) -> int | None:
    """Bytes reserved for a blob, from `need` to `wish`; in the caller's transaction. None: `need` is beyond `limit`."""
    await connection.execute(TURN, tenant)
    granted: int | None = await connection.fetchval(RESERVE, tenant, blob, need, wish, limit)
    return granted


async def settle(connection: "Connection", blob: str, size: int) -> None:
    """Say how large a blob has become for which more was reserved."""
    await connection.execute(SETTLE, blob, size)


async def forget(connection: "Connection", blobs: Sequence[str]) -> None:
    """Give back what was reserved for blobs that are deleted, and for all below them."""
    await connection.execute(FORGET, blobs)
