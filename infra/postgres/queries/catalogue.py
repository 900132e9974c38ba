"""Which collections and documents exist, and which version of each document is current.

Writers of documents lock the collection's row `FOR SHARE`; dropping it or giving it another index locks it exclusively.
So a write finds the collection unchanged, or not at all. Document rows are locked in the order of their ids.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from schemas.collections import MAX_COLLECTIONS

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# How many chunks of a document are in the searched index; a rebuild may make more or fewer than the first writing did.
CHUNKS: Final = """
CASE WHEN (d.built_generation, d.built_version) = (c.generation, d.written) THEN d.built_chunks ELSE d.chunks END
"""

# Collections with sums over their documents. `building_job` is given only while that job lives; a cancelled one leaves
# its index for the next job of the collection to remove.
SUMMED: Final = f"""
c.name, c.generation, c.created_at, g.doubt, g.encoder, g.embedder, g.dimension, g.learned, j.id AS building_job, sums.*
FROM chosen c JOIN generation g ON g.id = c.generation LEFT JOIN generation b ON b.id = c.building
LEFT JOIN job j ON b.id IS NOT NULL AND j.id = c.building_job AND j.state IN ('queued', 'running', 'retry_wait')
CROSS JOIN LATERAL (
    SELECT count(*) AS documents, coalesce(sum({CHUNKS}), 0)::bigint AS chunks,
           coalesce(sum(d.bytes), 0)::bigint AS bytes
    FROM document d WHERE d.tenant = c.tenant AND d.collection = c.name AND NOT d.deleted
) sums
"""

# A page of a tenant's collections by name, without settings and fields, which may be large.
COLLECTIONS: Final = f"""
WITH chosen AS (SELECT * FROM collection WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $3)
SELECT {SUMMED} ORDER BY c.name
"""

# One collection with everything known about it.
WHOLE_COLLECTION: Final = f"""
WITH chosen AS (SELECT * FROM collection WHERE tenant = $1 AND name = $2)
SELECT c.fields, g.settings, b.settings AS building_settings, {SUMMED}
"""

HAS_DOCUMENTS: Final = """
EXISTS (SELECT 1 FROM document d WHERE d.tenant = c.tenant AND d.collection = c.name AND NOT d.deleted)
"""

# All that a search needs to know of a collection, as one text: who has read the collection sees by it whether that
# still holds. The numbers of writes are not in it, because a search does not depend on them.
STATE: Final = f"""
md5(ROW(c.born, c.generation, c.fields, g.settings::text, g.encoder, g.embedder, g.dimension, g.learned, g.doubt,
        {HAS_DOCUMENTS})::text)
"""

# One collection with both of its indexes. The settings are JSON texts.
COLLECTION: Final = f"""
SELECT c.name, c.born, c.generation, c.building_job, c.fields, {STATE} AS state,
       g.settings, g.encoder, g.embedder, g.dimension, g.learned, g.doubt,
       b.id AS building, b.settings AS building_settings, b.encoder AS building_encoder,
       b.embedder AS building_embedder, b.dimension AS building_dimension, b.learned AS building_learned,
       {HAS_DOCUMENTS} AS documents
FROM collection c JOIN generation g ON g.id = c.generation LEFT JOIN generation b ON b.id = c.building
WHERE c.tenant = $1 AND c.name = $2
"""

# What a collection's index and settings are now, as one text: every write to the catalogue counts `change` up.
CONTENT: Final = """
SELECT concat_ws('.', g.id, g.incarnation, g.change, md5(g.settings::text))
FROM collection c JOIN generation g ON g.id = c.generation WHERE c.tenant = $1 AND c.name = $2
"""

# Whether a collection has any documents; no row when it does not exist.
IS_EMPTY: Final = """
SELECT NOT EXISTS (
    SELECT 1 FROM document d WHERE d.tenant = c.tenant AND d.collection = c.name AND NOT d.deleted
) AS empty
FROM collection c WHERE c.tenant = $1 AND c.name = $2
"""

# Collections of one tenant are created one after the other, so that no two take the last place.
TURN_TO_MAKE: Final = "SELECT pg_advisory_xact_lock(hashtextextended('collections of ' || $1, 0))"
HAS_ROOM: Final = "SELECT count(*) < $2 FROM collection WHERE tenant = $1"

# A collection with its first index, unless another job is creating it at the moment.
MAKE: Final = """
WITH made AS (
    INSERT INTO collection (tenant, name, born, generation)
    SELECT $1, $2, n, n FROM nextval('indexing_number') AS n
    ON CONFLICT DO NOTHING RETURNING generation
)
INSERT INTO generation (id, tenant, collection, settings, encoder, embedder)
SELECT generation, $1, $2, $3::json, $4, $5 FROM made
"""

# An indexing job's version: drawn once and kept in its row, so that a repeat has the same one. It is drawn again when
# the collection is younger: what the job did before went with an earlier collection of that name.
VERSION: Final = """
WITH drawn AS (
    UPDATE job SET carry = json_build_object('version', nextval('indexing_number'))
    WHERE id = $1 AND (carry IS NULL OR (carry ->> 'version')::bigint < $2) RETURNING carry
)
SELECT coalesce((SELECT carry FROM drawn), (SELECT carry FROM job WHERE id = $1)) ->> 'version' AS version
"""

DOCUMENTS: Final = """
SELECT id, written, content_hash, chunks, bytes, source_blob, source_offset, source_bytes FROM document
WHERE tenant = $1 AND collection = $2 AND id = ANY($3::text[]) AND NOT deleted
"""

# Documents in an order that the seed shuffles, always the same. Reads all of the collection's.
SAMPLE: Final = """
SELECT id, written, content_hash, chunks, bytes, source_blob, source_offset, source_bytes FROM document
WHERE tenant = $1 AND collection = $2 AND NOT deleted ORDER BY md5($3::text || '/' || id), id LIMIT $4
"""

# The state of a collection, in a row without an id, and what holds of some documents.
HOLDING: Final = f"""
SELECT NULL AS id, NULL AS written, {STATE} AS content
FROM collection c JOIN generation g ON g.id = c.generation WHERE c.tenant = $1 AND c.name = $2
UNION ALL
SELECT id, written, content_hash FROM document
WHERE tenant = $1 AND collection = $2 AND id = ANY($3::text[]) AND NOT deleted
"""

# The same content again: older jobs that are still working on these documents come too late from now on.
TOUCH: Final = """
WITH held AS (
    SELECT d.id FROM document d JOIN unnest($4::text[], $5::text[]) AS g(id, content_hash)
        ON g.id = d.id AND g.content_hash = d.content_hash
    WHERE d.tenant = $1 AND d.collection = $2 AND NOT d.deleted ORDER BY d.id FOR UPDATE OF d
)
UPDATE document d SET version = greatest(version, $3) FROM held
WHERE d.tenant = $1 AND d.collection = $2 AND d.id = held.id RETURNING d.id
"""

# Metadata fields seen for the first time, as far as there is room for them.
ADD_FIELDS: Final = """
UPDATE collection SET fields = fields || array(
    SELECT DISTINCT field FROM unnest($3::text[]) AS field WHERE field <> ALL(fields) LIMIT 1000 - cardinality(fields)
)
WHERE tenant = $1 AND name = $2 AND NOT fields @> $3::text[] AND cardinality(fields) < 1000
"""

# Parsed texts are garbage until a document names them. What is interrupted in between is deleted a day later, or after
# the job has ended.
EXPECT_SOURCE: Final = """
INSERT INTO blob_garbage (blob, due_at, job_id) VALUES ($1, now() + interval '1 day', $2)
ON CONFLICT (blob) DO UPDATE SET due_at = excluded.due_at, again_at = NULL, job_id = excluded.job_id
"""

# Whether documents already name these texts.
SOURCE_NAMED: Final = "SELECT EXISTS (SELECT 1 FROM document WHERE source_blob = $1)"

# Documents name them from now on. Without a row, or without a job in it, they waited too long and are gone or going.
NAME_SOURCE: Final = "DELETE FROM blob_garbage WHERE blob = $1 AND job_id IS NOT NULL RETURNING blob"

STANDING: Final = """
SELECT born, generation, building, coalesce(sealed_until > now(), false) AS sealed FROM collection
WHERE tenant = $1 AND name = $2
"""
HOLD: Final = f"{STANDING} FOR SHARE"

# The fence: a version takes a document's row unless a higher one has spoken. Repeating it changes nothing. If several
# jobs write one new id at once, only the first writer of the row has `added` it.
RECORD: Final = """
INSERT INTO document (tenant, collection, id, version, written, added, content_hash, chunks, bytes, source_blob,
                      source_offset, source_bytes)
SELECT $1, $2, g.id, $3, $3, $3, g.content_hash, g.chunks, g.bytes, $4, g.source_offset, g.source_bytes
FROM unnest($5::text[], $6::text[], $7::int[], $8::bigint[], $9::bigint[], $10::bigint[])
    AS g(id, content_hash, chunks, bytes, source_offset, source_bytes)
ORDER BY g.id
ON CONFLICT (tenant, collection, id) DO UPDATE SET
    version = excluded.version, written = excluded.written, deleted = false,
    added = CASE WHEN document.deleted THEN excluded.added ELSE document.added END,
    content_hash = excluded.content_hash, chunks = excluded.chunks, bytes = excluded.bytes,
    source_blob = excluded.source_blob, source_offset = excluded.source_offset, source_bytes = excluded.source_bytes,
    updated_at = now()
WHERE document.version <= excluded.version
RETURNING document.id, old.source_blob
"""

# A deleted document's row stays for a day, so that an older job does not bring the document back. The number of chunks
# stays too, so that a repeat recognises what it deleted.
FORGET: Final = """
INSERT INTO document (tenant, collection, id, version, written, deleted, content_hash, chunks, bytes)
SELECT $1, $2, g.id, $3, $3, true, '', 0, 0 FROM unnest($4::text[]) AS g(id) ORDER BY g.id
ON CONFLICT (tenant, collection, id) DO UPDATE SET
    version = excluded.version, written = excluded.written, deleted = true, content_hash = '', bytes = 0,
    source_blob = NULL, source_offset = NULL, source_bytes = NULL, updated_at = now()
WHERE document.version <= excluded.version
RETURNING document.id, old.source_blob,
    coalesce(NOT old.deleted OR (old.version = $3 AND old.chunks > 0), false) AS was_there
"""

# The current state of documents.
NOW: Final = """
SELECT id, version, written, added, content_hash, deleted FROM document
WHERE tenant = $1 AND collection = $2 AND id = ANY($3::text[])
"""

# Two transactions that remove the last two documents from a blob must each see the other's, so they take turns.
TURN: Final = """
SELECT pg_advisory_xact_lock(hashtextextended(blob, 0)) FROM (SELECT unnest($1::text[]) AS blob ORDER BY 1) AS given
"""

# Texts that no document names.
LET_SOURCES_GO: Final = """
INSERT INTO blob_garbage (blob)
SELECT blob FROM unnest($1::text[]) AS blob WHERE NOT EXISTS (SELECT 1 FROM document WHERE source_blob = blob)
ON CONFLICT DO NOTHING
"""

# Waits for current writers. The documents are removed by a later statement, which sees what these have written. A
# collection created after the job began is another one, which a repeat must not mistake for the one it dropped.
DROP: Final = "DELETE FROM collection WHERE tenant = $1 AND name = $2 AND created_at < $3 RETURNING born"
DROP_DOCUMENTS: Final = "DELETE FROM document WHERE tenant = $1 AND collection = $2"
DROP_SOURCES: Final = "INSERT INTO blob_garbage (blob) VALUES ($1) ON CONFLICT (blob) DO UPDATE SET due_at = now()"

LEFTOVERS: Final = """
SELECT id FROM generation g WHERE tenant = $1 AND collection = $2 AND NOT EXISTS (
    SELECT 1 FROM collection c WHERE c.tenant = $1 AND c.name = $2 AND g.id IN (c.generation, c.building)
)
"""
LET_GO: Final = "DELETE FROM generation WHERE id = $1 AND tenant = $2 AND collection = $3"

# The arms of an index that is about to be created, or already was: the first ones recorded hold.
ARMS: Final = """
UPDATE generation SET dimension = coalesce(dimension, $2), learned = learned OR (dimension IS NULL AND $3)
WHERE id = $1 RETURNING dimension, learned
"""


async def collections(connection: "Connection", tenant: str, after: str | None, limit: int) -> list[asyncpg.Record]:
    """A page of collections with `documents`, `chunks`, `bytes`, encoders, and which job is building."""
    return await connection.fetch(COLLECTIONS, tenant, after or "", limit)


async def whole_collection(connection: "Connection", tenant: str, name: str) -> asyncpg.Record | None:
    """One collection, also with fields, settings and the index being built; None when it does not exist."""
    return await connection.fetchrow(WHOLE_COLLECTION, tenant, name)


async def collection(connection: "Connection", tenant: str, name: str) -> asyncpg.Record | None:
    """The collection with both indexes; None when it does not exist."""
    return await connection.fetchrow(COLLECTION, tenant, name)


async def content(connection: "Connection", tenant: str, name: str) -> str | None:
    """A text that is another one after every change of the collection; None when it does not exist."""
    found: str | None = await connection.fetchval(CONTENT, tenant, name)
    return found


async def is_empty(connection: "Connection", tenant: str, name: str) -> bool | None:
    """Whether the collection has no documents; None when it does not exist."""
    row = await connection.fetchrow(IS_EMPTY, tenant, name)
    return None if row is None else bool(row["empty"])


async def make(
    connection: "Connection", tenant: str, name: str, settings: str, encoder: str, embedder: str | None
) -> bool:
    """Create the collection unless it exists by now, in the caller's transaction. `settings` is a JSON text.

    Returns False, without creating anything, when the tenant has as many as it may.
    """
    await connection.execute(TURN_TO_MAKE, tenant)
    if not await connection.fetchval(HAS_ROOM, tenant, MAX_COLLECTIONS):
        return False
    await connection.execute(MAKE, tenant, name, settings, encoder, embedder)
    return True


async def version(connection: "Connection", job: UUID, born: int) -> int | None:
    """The job's version, above `born`; None when there is no such job."""
    found = await connection.fetchval(VERSION, job, born)
    return None if found is None else int(found)


async def documents(connection: "Connection", tenant: str, name: str, ids: Sequence[str]) -> list[asyncpg.Record]:
    """The documents that exist and are not deleted."""
    return await connection.fetch(DOCUMENTS, tenant, name, ids)


async def sample(connection: "Connection", tenant: str, name: str, seed: int, limit: int) -> list[asyncpg.Record]:
    """Documents drawn at random."""
    return await connection.fetch(SAMPLE, tenant, name, str(seed), limit)


async def holding(connection: "Connection", tenant: str, name: str, ids: Sequence[str]) -> list[asyncpg.Record]:
    """`id`, `written` and `content`, the content hash, of documents; a row without an id has the collection's state."""
    return await connection.fetch(HOLDING, tenant, name, ids)


async def touch(
    connection: "Connection", tenant: str, name: str, version: int, ids: Sequence[str], hashes: Sequence[str]
) -> set[str]:
    """Raise the versions of documents that have this content; returns their ids."""
    return {row["id"] for row in await connection.fetch(TOUCH, tenant, name, version, ids, hashes)}


async def add_fields(connection: "Connection", tenant: str, name: str, fields: Sequence[str]) -> None:
    """Add to the collection's metadata fields."""
    await connection.execute(ADD_FIELDS, tenant, name, fields)


async def expect_source(connection: "Connection", blob: str, job: UUID) -> None:
    """Announce that the job is about to write the blob."""
    await connection.execute(EXPECT_SOURCE, blob, job)


async def source_named(connection: "Connection", blob: str) -> bool:
    """Whether documents name the blob."""
    return bool(await connection.fetchval(SOURCE_NAMED, blob))


async def name_source(connection: "Connection", blob: str) -> bool:
    """Whether the blob was expected; from now on it is not."""
    return await connection.fetchval(NAME_SOURCE, blob) is not None


async def standing(connection: "Connection", tenant: str, name: str) -> asyncpg.Record | None:
    """The present `born`, `generation`, `building`, `sealed`; None when there is no such collection."""
    return await connection.fetchrow(STANDING, tenant, name)


async def hold(connection: "Connection", tenant: str, name: str) -> asyncpg.Record | None:
    """The same, locked so that it stays so until the end of the transaction."""
    return await connection.fetchrow(HOLD, tenant, name)


async def record(
    connection: "Connection", tenant: str, name: str, version: int, blob: str, rows: Sequence[tuple[Any, ...]]
) -> list[asyncpg.Record]:
    """Write rows of `(id, content_hash, chunks, bytes, source_offset, source_bytes)`.

    Returns `id` of those without a higher version, and `source_blob`, the blob that they named before.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    return await connection.fetch(RECORD, tenant, name, version, blob, *columns)


async def forget(
    connection: "Connection", tenant: str, name: str, version: int, ids: Sequence[str]
) -> list[asyncpg.Record]:
    """`id` of those without a higher version, `source_blob` that they named, and whether each `was_there`."""
    return await connection.fetch(FORGET, tenant, name, version, ids)


async def now(connection: "Connection", tenant: str, name: str, ids: Sequence[str]) -> list[asyncpg.Record]:
    """`id`, `version`, `written`, `added`, `content_hash`, `deleted` of the documents that exist."""
    return await connection.fetch(NOW, tenant, name, ids)


async def let_sources_go(connection: "Connection", blobs: Sequence[str]) -> None:
    """Mark blobs that no document names any more for deletion; in the transaction that removed the documents."""
    await connection.execute(TURN, blobs)
    await connection.execute(LET_SOURCES_GO, blobs)


async def drop(connection: "Connection", tenant: str, name: str, made_before: datetime) -> int | None:
    """Remove the collection and its documents, in the caller's transaction. Returns its `born` if it existed."""
    born: int | None = await connection.fetchval(DROP, tenant, name, made_before)
    if born is not None:
        await connection.execute(DROP_DOCUMENTS, tenant, name)
    return born


async def drop_sources(connection: "Connection", folder: str) -> None:
    """Mark all of a collection's texts for deletion."""
    await connection.execute(DROP_SOURCES, folder)


async def leftovers(connection: "Connection", tenant: str, name: str) -> list[int]:
    """The generations that the collection does not name."""
    return [row["id"] for row in await connection.fetch(LEFTOVERS, tenant, name)]


async def let_go(connection: "Connection", tenant: str, name: str, generation: int) -> None:
    """Remove a generation's row."""
    await connection.execute(LET_GO, generation, tenant, name)


async def arms(
    connection: "Connection", generation: int, dimension: int | None, learned: bool
) -> tuple[int | None, bool]:
    """The dimension and learned arm of the generation, which are fixed from now on."""
    row = await connection.fetchrow(ARMS, generation, dimension, learned)
    assert row is not None
    return row["dimension"], row["learned"]
