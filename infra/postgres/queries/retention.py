"""Removes what ended long ago, a stretch of a table at a time.

No table has an index on when its rows ended, because each would add a cost to every job. Ids are UUIDv7, so they are in
the order in which rows were made, and whatever ended before a time was made before it. Every statement here reads a
bounded stretch of ids and says where it ended. The caller continues from there and reads nothing twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

RETENTION_LOCK: Final = 0x57454C4952  # "WELIR": the advisory lock of the one process that removes

# One process at a time; held to the end of the caller's transaction.
LEAD: Final = "SELECT pg_try_advisory_xact_lock($1)"

# Ids below this one were made earlier. It only finds candidates and never decides, because a process's clock made ids.
BOUND: Final = "SELECT uuidv7(-$1::interval)"

# Submitted jobs in a stretch: whether each ended before the time, and whether it has children.
JOBS: Final = """
WITH stretch AS (
    SELECT id, parent, state, finished_at FROM job WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3
)
SELECT id, parent IS NULL AND state IN ('succeeded', 'failed', 'cancelled') AND finished_at < now() - $4::interval
        AS expired,
    (SELECT true FROM job c WHERE c.parent = stretch.id LIMIT 1) IS NOT NULL AS has_children
FROM stretch ORDER BY id
"""

# Jobs and everything below them. OFFSET 0 forces one lookup each, whatever the planner thinks of the table.
TREE: Final = """
WITH RECURSIVE tree AS (
    SELECT id AS root, id FROM unnest($1::uuid[]) AS given(id)
    UNION ALL
    SELECT tree.root, below.id
    FROM tree CROSS JOIN LATERAL (SELECT c.id FROM job c WHERE c.parent = tree.id OFFSET 0) below
)
"""

# Submitted jobs that must stay: something in their tree lives, somebody still has to decide about it (a dead letter),
# or somebody still has to be told. Not EXISTS, for which the planner might read all letters and deliveries at once.
HELD: Final = f"""{TREE}
SELECT DISTINCT tree.root FROM tree
WHERE (SELECT true FROM job j WHERE j.id = tree.id AND j.state IN ('queued', 'running', 'retry_wait') LIMIT 1)
    OR (SELECT true FROM dead_letter l WHERE l.job_id = tree.id AND l.requeued_at IS NULL LIMIT 1)
    OR (SELECT true FROM webhook_delivery d WHERE d.job_id = tree.id AND d.state = 'pending' LIMIT 1)
"""

# Files below `<tenant>/jobs/<job>/`. These operators compare bytes, whatever the database's collation, and use an
# index; `0` is the character after `/`.
IN_FOLDER: Final = "f.blob ~>~ (folder.path || '/') AND f.blob ~<~ (folder.path || '0')"

# The files that trees of jobs made.
FILES_OF: Final = f"""{TREE}
SELECT folder.root, f.id, f.tenant
FROM tree CROSS JOIN LATERAL (
    SELECT tree.root, tenant || '/jobs/' || replace(id::text, '-', '') AS path FROM job WHERE id = tree.id OFFSET 0
) folder
JOIN file f ON {IN_FOLDER}
"""

# Which of these files are named in the input of a tenant's jobs, in a stretch of them; $5 are jobs that do not count.
# The last row has no file: it says where the stretch ended.
NAMED: Final = """
WITH stretch AS MATERIALIZED (
    SELECT id, input::text AS input FROM job WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3
)
SELECT stretch.id AS job, found[1] AS file
FROM stretch, regexp_matches(CASE WHEN strpos(input, 'file_') > 0 THEN input ELSE '' END, 'file_[0-9a-f]{32}', 'g')
    AS found
WHERE found[1] = ANY($4::text[]) AND stretch.id <> ALL($5::uuid[])
UNION ALL
(SELECT id, NULL FROM stretch ORDER BY id DESC LIMIT 1)
"""

# Takes locks in the order that a requeue does: a job's row first, then its letters.
LOCK: Final = """
SELECT id, tenant || '/jobs/' || replace(id::text, '-', '') AS folder FROM job
WHERE id = ANY($1::uuid[]) AND state IN ('succeeded', 'failed', 'cancelled') ORDER BY id FOR UPDATE
"""
REMOVE_EVENTS: Final = "DELETE FROM job_event WHERE job_id = ANY($1::uuid[])"
REMOVE_FILES_OF: Final = f"DELETE FROM file f USING unnest($1::text[]) AS folder(path) WHERE {IN_FOLDER}"

# Blobs to delete are recorded in the commit that releases them, so a crash between rows and blobs forgets nothing.
# Every job's folder is recorded, because a failed try may have left blobs that no row names.
LEAVE_FOLDERS: Final = """
INSERT INTO blob_garbage (blob) SELECT unnest($1::text[]) ON CONFLICT (blob) DO UPDATE SET due_at = now()
"""

# Their resolved dead letters go with them, through the foreign key.
REMOVE_JOBS: Final = "DELETE FROM job WHERE id = ANY($1::uuid[])"

# A page of a job's children, and whether they have children of their own.
CHILDREN: Final = """
SELECT id, (SELECT true FROM job g WHERE g.parent = c.id LIMIT 1) IS NOT NULL AS has_children
FROM job c WHERE parent = $1 LIMIT $2
"""

# Deliveries that ended before the time; their log goes through the foreign key. One that is being replayed stays.
REMOVE_DELIVERIES: Final = """
WITH stretch AS (
    SELECT id FROM webhook_delivery WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3
), gone AS (
    DELETE FROM webhook_delivery d
    WHERE d.id = ANY(array(SELECT id FROM stretch)) AND d.state <> 'pending' AND d.ended_at < now() - $4::interval
    RETURNING d.id
)
SELECT (SELECT count(*) FROM gone) AS removed, (SELECT id FROM stretch ORDER BY id DESC LIMIT 1) AS last
"""

# Letters made before the time, decided or not.
REMOVE_LETTERS: Final = """
WITH stretch AS (
    SELECT id FROM dead_letter WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3
), gone AS (
    DELETE FROM dead_letter l
    WHERE l.id = ANY(array(SELECT id FROM stretch)) AND l.created_at < now() - $4::interval RETURNING l.id
)
SELECT (SELECT count(*) FROM gone) AS removed, (SELECT id FROM stretch ORDER BY id DESC LIMIT 1) AS last
"""

# Files in a stretch, and whether each is an upload from before the time.
UPLOADS: Final = """
SELECT id, tenant, blob = tenant || '/files/' || replace(id::text, '-', '') AND created_at < now() - $4::interval
    AS expired
FROM file WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3
"""
REMOVE_UPLOADS: Final = """
WITH gone AS (DELETE FROM file WHERE id = ANY($1::uuid[]) RETURNING blob)
INSERT INTO blob_garbage (blob) SELECT blob FROM gone ON CONFLICT DO NOTHING
"""

# Files that their owner set to expire, even if jobs name them.
REMOVE_EXPIRED: Final = """
WITH gone AS (
    DELETE FROM file WHERE id = ANY(array(
        SELECT id FROM file WHERE expires_at <= now() ORDER BY expires_at LIMIT $1
    )) RETURNING blob
), noted AS (
    INSERT INTO blob_garbage (blob) SELECT blob FROM gone ON CONFLICT DO NOTHING
)
SELECT count(*) FROM gone
"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Ids between `after` and `before`, at most `limit` of them; rows older than `age` have expired."""

    after: UUID
    before: UUID
    limit: int
    age: timedelta


async def lead(connection: "Connection") -> bool:
    """Whether the caller's transaction belongs to the one process that removes."""
    return bool(await connection.fetchval(LEAD, RETENTION_LOCK))


async def bound(connection: "Connection", age: timedelta) -> UUID:
    """The id of something made `age` ago, by the database's clock."""
    found: UUID = await connection.fetchval(BOUND, age)
    return found


async def jobs(connection: "Connection", stretch: Stretch) -> list[asyncpg.Record]:
    """`id`, `expired`, `has_children` of every job in the stretch, in order."""
    return await connection.fetch(JOBS, stretch.after, stretch.before, stretch.limit, stretch.age)


async def held(connection: "Connection", roots: Sequence[UUID]) -> set[UUID]:
    """The submitted jobs whose trees must stay whole."""
    return {row["root"] for row in await connection.fetch(HELD, roots)}


async def files_of(connection: "Connection", roots: Sequence[UUID]) -> list[asyncpg.Record]:
    """`root`, `id`, `tenant` of every file that these jobs or their descendants made."""
    return await connection.fetch(FILES_OF, roots)


async def named(
    connection: "Connection", tenant: str, after: UUID, limit: int, files: Sequence[UUID], but: Sequence[UUID]
) -> tuple[set[UUID], UUID | None]:
    """The files that `limit` of the tenant's jobs `after` an id name, and the last of these jobs, if any."""
    rows = await connection.fetch(NAMED, tenant, after, limit, [f"file_{file.hex}" for file in files], but)
    found = {UUID(hex=row["file"].removeprefix("file_")) for row in rows if row["file"] is not None}
    return found, rows[-1]["job"] if rows else None


async def remove_jobs(connection: "Connection", ids: Sequence[UUID]) -> int:
    """Remove ended jobs without children, with events and files, in the caller's transaction; returns how many."""
    rows = await connection.fetch(LOCK, ids)
    doomed = [row["id"] for row in rows]
    folders = [row["folder"] for row in rows]
    await connection.execute(REMOVE_EVENTS, doomed)
    await connection.execute(REMOVE_FILES_OF, folders)
    await connection.execute(LEAVE_FOLDERS, folders)
    await connection.execute(REMOVE_JOBS, doomed)
    return len(doomed)


async def children(connection: "Connection", parent: UUID, limit: int) -> list[asyncpg.Record]:
    """`id` and `has_children` of some of a job's children; empty when none are left."""
    return await connection.fetch(CHILDREN, parent, limit)


async def remove_deliveries(connection: "Connection", stretch: Stretch) -> tuple[int, UUID | None]:
    """Remove deliveries in the stretch; returns how many, and the stretch's last id, None when it is empty."""
    return _removed(
        await connection.fetchrow(REMOVE_DELIVERIES, stretch.after, stretch.before, stretch.limit, stretch.age)
    )


async def remove_letters(connection: "Connection", stretch: Stretch) -> tuple[int, UUID | None]:
    """The same for dead letters."""
    return _removed(
        await connection.fetchrow(REMOVE_LETTERS, stretch.after, stretch.before, stretch.limit, stretch.age)
    )


async def uploads(connection: "Connection", stretch: Stretch) -> list[asyncpg.Record]:
    """`id`, `tenant`, `expired` of every file in the stretch, in order."""
    return await connection.fetch(UPLOADS, stretch.after, stretch.before, stretch.limit, stretch.age)


async def remove_uploads(connection: "Connection", ids: Sequence[UUID]) -> None:
    """Remove uploaded files."""
    await connection.execute(REMOVE_UPLOADS, ids)


async def remove_expired(connection: "Connection", limit: int) -> int:
    """Remove files that have expired; returns how many."""
    return int(await connection.fetchval(REMOVE_EXPIRED, limit))


def _removed(row: asyncpg.Record | None) -> tuple[int, UUID | None]:
    assert row is not None
    return row["removed"], row["last"]
