"""Files: what was uploaded or produced, and where its bytes lie."""

from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

COLUMNS: Final = "id, filename, purpose, content_type, bytes, sha256, blob, created_at"

ADD: Final = f"""
INSERT INTO file (id, tenant, filename, purpose, content_type, bytes, sha256, blob)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {COLUMNS}
"""

# An upload's blob is garbage until its row is there: what breaks off in between is deleted a day later.
EXPECT: Final = "INSERT INTO blob_garbage (blob, due_at) VALUES ($1, now() + interval '1 day')"

# No row: the upload took so long that its blob is gone, or is going.
ADD_EXPECTED: Final = f"""
WITH expected AS (DELETE FROM blob_garbage WHERE blob = $8 RETURNING blob)
INSERT INTO file (id, tenant, filename, purpose, content_type, bytes, sha256, blob)
SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::bigint, $7::text, blob FROM expected RETURNING {COLUMNS}
"""
FILE: Final = f"SELECT {COLUMNS} FROM file WHERE id = $1 AND tenant = $2"
FILES: Final = f"""
SELECT {COLUMNS} FROM file WHERE tenant = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""

# The blob is noted as garbage in the same commit, and the note removed when it is deleted.
DELETE: Final = """
WITH gone AS (DELETE FROM file WHERE id = $1 AND tenant = $2 RETURNING blob, bytes),
noted AS (INSERT INTO blob_garbage (blob) SELECT blob FROM gone ON CONFLICT DO NOTHING)
SELECT blob, bytes FROM gone
"""
DELETED: Final = "DELETE FROM blob_garbage WHERE blob = $1"


async def add(
    connection: "Connection",
    file_id: UUID,
    tenant: str,
    *,
    filename: str,
    purpose: str,
    content_type: str,
    size: int,
    sha256: str,
    blob: str,
) -> asyncpg.Record:
    """Record a file whose bytes are stored already; `size` in bytes."""
    row = await connection.fetchrow(ADD, file_id, tenant, filename, purpose, content_type, size, sha256, blob)
    assert row is not None
    return row


async def file(connection: "Connection", file_id: UUID, tenant: str) -> asyncpg.Record | None:
    """A file of the tenant."""
    return await connection.fetchrow(FILE, file_id, tenant)


async def files(connection: "Connection", tenant: str, after: UUID | None, limit: int) -> list[asyncpg.Record]:
    """A page of files, newest first."""
    return await connection.fetch(FILES, tenant, after, limit)


async def expect(connection: "Connection", blob: str) -> None:
    """Say that a blob is about to be stored, whose file `add_expected` will record."""
    await connection.execute(EXPECT, blob)


async def add_expected(
    connection: "Connection",
    file_id: UUID,
    tenant: str,
    *,
    filename: str,
    purpose: str,
    content_type: str,
    size: int,
    sha256: str,
    blob: str,
) -> asyncpg.Record | None:
    """Record a file whose blob was expected; None when that was more than a day ago."""
    return await connection.fetchrow(ADD_EXPECTED, file_id, tenant, filename, purpose, content_type, size, sha256, blob)


async def delete(connection: "Connection", file_id: UUID, tenant: str) -> asyncpg.Record | None:
    """`blob` and `bytes` of the file that was removed, or None; say `deleted` when the blob is gone too."""
    return await connection.fetchrow(DELETE, file_id, tenant)


async def deleted(connection: "Connection", blob: str) -> None:
    """Say that a removed file's blob is gone."""
    await connection.execute(DELETED, blob)
