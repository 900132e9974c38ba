"""What the catalogue says about its indexes, and which of them contradict it."""

from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# A catalogue write that the index is to follow. Last in its transaction: other writes wait from here to the commit.
CHANGED: Final = """
UPDATE generation SET change = change + 1, reached = greatest(reached, $2) WHERE id = $1 RETURNING incarnation, change
"""

# Indexes that collections name, those being built first, and whether any document has points in them.
CLAIMS: Final = """
SELECT g.id, g.tenant, g.collection, g.incarnation, g.change, g.reached, g.id <> c.generation AS building,
       c.building_job, EXISTS (
           SELECT 1 FROM document d WHERE d.tenant = g.tenant AND d.collection = g.collection AND NOT d.deleted
               AND (g.id = c.generation OR d.built_generation = g.id)
       ) AS documents
FROM generation g JOIN collection c ON c.tenant = g.tenant AND c.name = g.collection
    AND g.id IN (c.generation, c.building)
WHERE $1::bigint IS NULL OR g.id = $1
ORDER BY building DESC, g.id
"""

# Only the first to record the doubt has to act on it.
DOUBT: Final = "UPDATE generation SET doubt = $2 WHERE id = $1 AND doubt IS NULL RETURNING id"

# How many collections search in an index that is in doubt.
DOUBTED: Final = "SELECT count(*) FROM collection c JOIN generation g ON g.id = c.generation WHERE g.doubt IS NOT NULL"

# What every restore changes. A dump recreates the table with its file and, once every row is there, its constraints.
# A copy of the files, or a replica, means another start of the server.
AGE: Final = """
SELECT last_value AS number, pg_relation_filenode(to_regclass('generation')) AS file,
       (SELECT string_agg(oid::text, ',' ORDER BY oid) FROM pg_constraint WHERE conrelid = to_regclass('generation'))
           AS constraints, pg_postmaster_start_time() AS started
FROM indexing_number
"""

# So that the number of an existing index is never given to another one.
PASS_NUMBER: Final = "SELECT setval('indexing_number', $1) FROM indexing_number WHERE last_value < $1"


async def changed(connection: "Connection", generation: int, version: int) -> asyncpg.Record:
    """Count a catalogue write; returns `incarnation` and `change`. `version`: the highest whose points it recorded."""
    row = await connection.fetchrow(CHANGED, generation, version)
    assert row is not None
    return row


async def claims(connection: "Connection", generation: int | None = None) -> list[asyncpg.Record]:
    """All indexes that collections name, or one of them."""
    return await connection.fetch(CLAIMS, generation)


async def doubt(connection: "Connection", generation: int, why: str) -> bool:
    """Record that an index contradicts the catalogue; False when that is already recorded."""
    return await connection.fetchval(DOUBT, generation, why) is not None


async def doubted(connection: "Connection") -> int:
    """How many collections search in an index that contradicts the catalogue."""
    count: int = await connection.fetchval(DOUBTED)
    return count


async def age(connection: "Connection") -> asyncpg.Record:
    """`number`, the highest version or generation given out, and what tells this database from a restored one."""
    row = await connection.fetchrow(AGE)
    assert row is not None
    return row


async def pass_number(connection: "Connection", number: int) -> None:
    """Give out only higher numbers from now on."""
    await connection.execute(PASS_NUMBER, number)
