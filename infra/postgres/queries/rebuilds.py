"""A collection is rebuilt: a second index is filled beside the first, and one commit swaps them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Locks the collection: no document is written meanwhile, and it is neither dropped nor swapped. With both settings.
ALONE: Final = """
SELECT c.generation, c.building, c.building_job, g.settings, b.settings AS building_settings
FROM collection c JOIN generation g ON g.id = c.generation LEFT JOIN generation b ON b.id = c.building
WHERE c.tenant = $1 AND c.name = $2 FOR UPDATE OF c
"""

LIVES: Final = "SELECT EXISTS (SELECT 1 FROM job WHERE id = $1 AND state IN ('queued', 'running', 'retry_wait'))"

SET_SETTINGS: Final = "UPDATE generation SET settings = $2::json WHERE id = $1"

START: Final = """
WITH made AS (
    INSERT INTO generation (id, tenant, collection, settings, encoder, embedder)
    VALUES (nextval('indexing_number'), $1, $2, $4::json, $5, $6) RETURNING id
)
UPDATE collection SET building = made.id, building_job = $3, sealed_until = NULL FROM made
WHERE tenant = $1 AND name = $2 RETURNING building
"""

# What the index lacks: documents whose current points are missing, and deleted ones whose points may be there.
UNBUILT: Final = """
SELECT id, written, content_hash, bytes, source_blob, source_offset, source_bytes, deleted FROM document
WHERE tenant = $1 AND collection = $2 AND id > $4 AND ($5::text IS NULL OR id <= $5)
    AND (built_generation, built_version) IS DISTINCT FROM ($3, written)
ORDER BY id LIMIT $6
"""
LACKS: Final = """
SELECT EXISTS (
    SELECT 1 FROM document
    WHERE tenant = $1 AND collection = $2 AND (built_generation, built_version) IS DISTINCT FROM ($3, written)
)
"""

# A document that was written again in the meantime stays unbuilt.
BUILT: Final = """
WITH held AS (
    SELECT d.id, g.version, g.chunks FROM document d
    JOIN unnest($4::text[], $5::bigint[], $6::int[]) AS g(id, version, chunks)
        ON g.id = d.id AND g.version = d.written
    WHERE d.tenant = $1 AND d.collection = $2 ORDER BY d.id FOR UPDATE OF d
)
UPDATE document d SET built_generation = $3, built_version = held.version, built_chunks = held.chunks FROM held
WHERE d.tenant = $1 AND d.collection = $2 AND d.id = held.id RETURNING d.id
"""

# A lease, so that a rebuild that stops working does not stop the writers too.
SEAL: Final = """
UPDATE collection SET sealed_until = now() + make_interval(secs => $4)
WHERE tenant = $1 AND name = $2 AND building = $3
"""

SWAP: Final = """
UPDATE collection SET generation = building, building = NULL, building_job = NULL, sealed_until = NULL
WHERE tenant = $1 AND name = $2 AND building = $3
"""

ABANDON: Final = """
UPDATE collection SET building = NULL, building_job = NULL, sealed_until = NULL
WHERE tenant = $1 AND name = $2 AND building IS NOT NULL AND (
    building_job = $3 OR NOT EXISTS (
        SELECT 1 FROM job WHERE id = building_job AND state IN ('queued', 'running', 'retry_wait')
    )
)
"""

# A deleted document's row has served its purpose when every job planned before the deletion is over, and no rebuild
# still has to read it. The conditions on jobs are those of their partial indexes.
REMOVE_DELETED: Final = """
WITH live AS (
    SELECT created_at FROM job WHERE state = 'queued' AND kind = 'indexing'
    UNION ALL SELECT created_at FROM job WHERE state = 'retry_wait' AND kind = 'indexing'
    UNION ALL SELECT created_at FROM job WHERE state = 'running' AND lease_until IS NOT NULL AND kind = 'indexing'
    UNION ALL SELECT created_at FROM job WHERE waiting AND kind = 'indexing'
), gone AS (
    SELECT d.ctid FROM document d
    WHERE d.deleted AND d.updated_at < now() - interval '1 day'
        AND d.updated_at < coalesce((SELECT min(created_at) FROM live), 'infinity')
        AND NOT EXISTS (
            SELECT 1 FROM collection c WHERE c.tenant = d.tenant AND c.name = d.collection AND c.building IS NOT NULL
        )
    LIMIT $1 FOR UPDATE SKIP LOCKED
)
DELETE FROM document d USING gone WHERE d.ctid = gone.ctid
"""


async def alone(connection: "Connection", tenant: str, name: str) -> asyncpg.Record | None:
    """`generation`, `building`, `building_job` and both settings, locked until the end of the transaction."""
    return await connection.fetchrow(ALONE, tenant, name)


async def lives(connection: "Connection", job: UUID) -> bool:
    """Whether the job has not ended."""
    return bool(await connection.fetchval(LIVES, job))


async def set_settings(connection: "Connection", generation: int, settings: str) -> None:
    """Give an index other settings, which do not shape its vectors. `settings` is a JSON text."""
    await connection.execute(SET_SETTINGS, generation, settings)


async def start(
    connection: "Connection", tenant: str, name: str, job: UUID, settings: str, encoder: str, embedder: str | None
) -> int:
    """A new generation, to be built by the job; call it in the transaction that has locked the collection."""
    building: int = await connection.fetchval(START, tenant, name, job, settings, encoder, embedder)
    return building


async def unbuilt(
    connection: "Connection", tenant: str, name: str, generation: int, after: str, last: str | None, limit: int
) -> list[asyncpg.Record]:
    """Documents that the index lacks, in order."""
    return await connection.fetch(UNBUILT, tenant, name, generation, after, last, limit)


async def lacks(connection: "Connection", tenant: str, name: str, generation: int) -> bool:
    """Whether the index lacks any document."""
    return bool(await connection.fetchval(LACKS, tenant, name, generation))


async def built(
    connection: "Connection", tenant: str, name: str, generation: int, documents: Sequence[tuple[str, int, int]]
) -> set[str]:
    """Record `(id, version, chunks)` of built documents; returns the ids whose built version is the current one."""
    columns = [list(column) for column in zip(*documents, strict=True)]
    return {row["id"] for row in await connection.fetch(BUILT, tenant, name, generation, *columns)}


async def seal(connection: "Connection", tenant: str, name: str, generation: int, seconds: float) -> None:
    """Make writers wait for this many seconds."""
    await connection.execute(SEAL, tenant, name, generation, seconds)


async def swap(connection: "Connection", tenant: str, name: str, generation: int) -> None:
    """Search in this index from now on."""
    await connection.execute(SWAP, tenant, name, generation)


async def abandon(connection: "Connection", tenant: str, name: str, job: UUID | None) -> None:
    """Stop building the index."""
    await connection.execute(ABANDON, tenant, name, job)


async def remove_deleted(connection: "Connection", limit: int) -> int:
    """Remove rows of documents deleted over a day ago and before every living job; returns how many."""
    status: str = await connection.execute(REMOVE_DELETED, limit)
    return int(status.rpartition(" ")[2])
