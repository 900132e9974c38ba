"""Which collections and documents exist."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Make the collection's record unless it exists; the record that holds afterwards, whoever made it.
ENSURE: Final = """
WITH made AS (
    INSERT INTO collection (tenant, name, encoder, embedder) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING RETURNING encoder, embedder
)
SELECT encoder, embedder FROM made
UNION ALL
SELECT encoder, embedder FROM collection WHERE tenant = $1 AND name = $2
LIMIT 1
"""

# A collection with the sums over its documents; all of the tenant's when no name is given.
COLLECTIONS: Final = """
SELECT c.name, c.encoder, c.embedder, c.created_at, count(d.id) AS documents,
       coalesce(sum(d.chunks), 0)::bigint AS chunks, coalesce(sum(d.bytes), 0)::bigint AS bytes
FROM collection c LEFT JOIN document d ON d.tenant = c.tenant AND d.collection = c.name
WHERE c.tenant = $1 AND ($2::text IS NULL OR c.name = $2)
GROUP BY c.tenant, c.name ORDER BY c.name LIMIT 1000
"""

# Whether a collection holds any document; no row when there is no such collection.
IS_EMPTY: Final = """
SELECT NOT EXISTS (SELECT 1 FROM document d WHERE d.tenant = c.tenant AND d.collection = c.name) AS empty
FROM collection c WHERE c.tenant = $1 AND c.name = $2
"""

DOCUMENTS: Final = """
SELECT id, content_hash, chunks, bytes FROM document WHERE tenant = $1 AND collection = $2 AND id = ANY($3::text[])
"""

RECORD: Final = """
INSERT INTO document (tenant, collection, id, content_hash, chunks, bytes)
SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::int[], $6::bigint[])
ON CONFLICT (tenant, collection, id) DO UPDATE
SET content_hash = excluded.content_hash, chunks = excluded.chunks, bytes = excluded.bytes, updated_at = now()
"""

FORGET: Final = """
DELETE FROM document WHERE tenant = $1 AND collection = $2 AND id = ANY($3::text[]) RETURNING id
"""

# The collection and its documents.
DROP: Final = """
WITH gone AS (DELETE FROM document WHERE tenant = $1 AND collection = $2)
DELETE FROM collection WHERE tenant = $1 AND name = $2 RETURNING name
"""


async def ensure(
    connection: "Connection", tenant: str, name: str, encoder: str, embedder: str | None
) -> asyncpg.Record:
    """The collection's `encoder` and `embedder`, as they were when it was made."""
    row = await connection.fetchrow(ENSURE, tenant, name, encoder, embedder)
    if row is None:  # another transaction made it between the two halves of the statement
        row = await connection.fetchrow(ENSURE, tenant, name, encoder, embedder)
    assert row is not None
    return row


async def collections(connection: "Connection", tenant: str, name: str | None = None) -> list[asyncpg.Record]:
    """Collections with `documents`, `chunks` and `bytes`."""
    return await connection.fetch(COLLECTIONS, tenant, name)


async def is_empty(connection: "Connection", tenant: str, name: str) -> bool | None:
    """None when there is no such collection."""
    row = await connection.fetchrow(IS_EMPTY, tenant, name)
    return None if row is None else bool(row["empty"])


async def documents(connection: "Connection", tenant: str, name: str, ids: Sequence[str]) -> list[asyncpg.Record]:
    """The known ones."""
    return await connection.fetch(DOCUMENTS, tenant, name, list(ids))


async def record(connection: "Connection", tenant: str, name: str, rows: Sequence[tuple[str, str, int, int]]) -> None:
    """Insert or replace `(id, content_hash, chunks, bytes)`, in id order so that two writers cannot deadlock."""
    ordered = sorted(rows)
    columns = [list(column) for column in zip(*ordered, strict=True)] or [[], [], [], []]
    await connection.execute(RECORD, tenant, name, *columns)


async def forget(connection: "Connection", tenant: str, name: str, ids: Sequence[str]) -> list[str]:
    """Remove documents; the ids that were known."""
    return [row["id"] for row in await connection.fetch(FORGET, tenant, name, list(ids))]


async def drop(connection: "Connection", tenant: str, name: str) -> bool:
    """Whether there was such a collection."""
    return await connection.fetchval(DROP, tenant, name) is not None
