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
FILE: Final = f"SELECT {COLUMNS} FROM file WHERE id = $1 AND tenant = $2"
FILES: Final = f"""
SELECT {COLUMNS} FROM file WHERE tenant = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""
DELETE: Final = "DELETE FROM file WHERE id = $1 AND tenant = $2 RETURNING blob"


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


async def delete(connection: "Connection", file_id: UUID, tenant: str) -> str | None:
    """The blob key of the file that was removed; None when there was none."""
    key: str | None = await connection.fetchval(DELETE, file_id, tenant)
    return key
