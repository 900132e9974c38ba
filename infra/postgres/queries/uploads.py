"""Uploads in parts: begun, filled, completed or given up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

COLUMNS: Final = """id, filename, purpose, content_type, bytes, lives_s, file_id, created_at, expires_at,
    CASE WHEN state = 'pending' AND expires_at <= now() THEN 'expired' ELSE state END AS status"""

BEGIN: Final = f"""
INSERT INTO upload (id, tenant, filename, purpose, content_type, bytes, lives_s, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8)) RETURNING {COLUMNS}
"""

UPLOAD: Final = f"SELECT {COLUMNS} FROM upload WHERE id = $1 AND tenant = $2"

# A part is stored. The lock keeps the upload from being completed or given up meanwhile.
ADD_PART: Final = """
WITH open AS (SELECT id FROM upload WHERE id = $2 AND state = 'pending' AND expires_at > now() FOR SHARE)
INSERT INTO upload_part (id, upload_id, bytes, blob) SELECT $1, id, $3, $4 FROM open RETURNING id, created_at
"""

# How many parts there are, and their bytes.
SIZE: Final = "SELECT count(*) AS parts, coalesce(sum(bytes), 0)::bigint AS bytes FROM upload_part WHERE upload_id = $1"

PARTS: Final = "SELECT id, bytes, blob FROM upload_part WHERE upload_id = $1 AND id = ANY($2::uuid[])"

# Only one completes or gives up an upload. Its parts are garbage from then on.
END: Final = f"""
WITH ended AS (
    UPDATE upload SET state = $2, file_id = $3 WHERE id = $1 AND state = 'pending' AND expires_at > now()
    RETURNING {COLUMNS}
), loose AS (
    UPDATE blob_garbage g SET due_at = now() FROM upload_part p, ended
    WHERE p.upload_id = ended.id AND g.blob = p.blob
)
SELECT * FROM ended
"""

BLOBS: Final = "SELECT blob FROM upload_part WHERE upload_id = $1"

# A day after they stopped taking parts, when the garbage of their parts is due too.
REMOVE_OLD: Final = """
WITH gone AS (
    DELETE FROM upload WHERE id = ANY(array(
        SELECT id FROM upload WHERE expires_at <= now() - interval '1 day' ORDER BY expires_at LIMIT $1
    )) RETURNING id
)
SELECT count(*) FROM gone
"""


async def begin(
    connection: "Connection",
    upload_id: UUID,
    tenant: str,
    *,
    filename: str,
    purpose: str,
    content_type: str,
    size: int,
    lives_s: float | None,
    open_s: float,
) -> asyncpg.Record:
    """Begin an upload that takes parts for `open_s` seconds."""
    row = await connection.fetchrow(BEGIN, upload_id, tenant, filename, purpose, content_type, size, lives_s, open_s)
    assert row is not None
    return row


async def upload(connection: "Connection", upload_id: UUID, tenant: str) -> asyncpg.Record | None:
    """An upload of the tenant, with its `status`."""
    return await connection.fetchrow(UPLOAD, upload_id, tenant)


async def size(connection: "Connection", upload_id: UUID) -> tuple[int, int]:
    """How many parts an upload has, and how many bytes they have."""
    row = await connection.fetchrow(SIZE, upload_id)
    assert row is not None
    return row["parts"], row["bytes"]


async def add_part(
    connection: "Connection", part_id: UUID, upload_id: UUID, size: int, blob: str
) -> asyncpg.Record | None:
    """Record a part whose blob was announced; None when the upload takes none any more."""
    return await connection.fetchrow(ADD_PART, part_id, upload_id, size, blob)


async def parts(connection: "Connection", upload_id: UUID, ids: Sequence[UUID]) -> dict[UUID, asyncpg.Record]:
    """Those of the upload's parts, with `bytes` and `blob`."""
    return {row["id"]: row for row in await connection.fetch(PARTS, upload_id, list(ids))}


async def end(connection: "Connection", upload_id: UUID, state: str, file_id: UUID | None) -> asyncpg.Record | None:
    """Complete or give up an upload; None when it takes parts no more."""
    return await connection.fetchrow(END, upload_id, state, file_id)


async def blobs(connection: "Connection", upload_id: UUID) -> list[str]:
    """The blobs of all parts of an upload."""
    return [row["blob"] for row in await connection.fetch(BLOBS, upload_id)]


async def remove_old(connection: "Connection", limit: int) -> int:
    """Remove uploads that ended or expired a day ago; returns how many."""
    return int(await connection.fetchval(REMOVE_OLD, limit))
