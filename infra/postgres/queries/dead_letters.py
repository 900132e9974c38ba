"""Dead letters: kept, looked at, requeued or dropped. A tenant sees its jobs' letters, an operator messages' too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from infra.postgres.queries.reading import COLUMNS as JOB_COLUMNS
from infra.postgres.queries.submit import COPIED

if TYPE_CHECKING:
    from infra.postgres.database import Connection

COLUMNS: Final = """l.id, l.source, l.job_id, l.kind, l.stage, l.reason, l.error, l.topic, l.partition, l."offset",
    octet_length(l.payload) AS bytes, l.created_at, l.requeued_at, l.requeued_as"""

# Whose letters these are. A message belongs to no tenant: only an operator sees it.
SEEN: Final = "(l.tenant = $1 OR ($2::bool AND l.source = 'message' AND l.tenant IS NULL))"

# Messages that could not be read. The same bytes at the same place are one letter, however often they are read.
KEEP: Final = """
INSERT INTO dead_letter (source, topic, partition, "offset", payload, digest, reason, error)
SELECT 'message', * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[], $7::json[])
ON CONFLICT (topic, partition, "offset", digest) WHERE source = 'message' DO NOTHING
RETURNING id
"""

# A page of letters, newest first: ids are UUIDv7. $6 is whether requeued ones are among them.
LETTERS: Final = f"""
SELECT {COLUMNS} FROM dead_letter l
WHERE {SEEN} AND ($3::text IS NULL OR l.kind = $3) AND ($4::text IS NULL OR l.reason = $4)
    AND ($5::text IS NULL OR l.source = $5) AND ($6::bool OR l.requeued_at IS NULL) AND ($7::uuid IS NULL OR l.id < $7)
ORDER BY l.id DESC LIMIT $8
"""

# One letter with its payload: a message's bytes, or the input of the job.
LETTER: Final = f"""
SELECT {COLUMNS}, l.payload, job.input FROM dead_letter l LEFT JOIN job ON job.id = l.job_id
WHERE {SEEN} AND l.id = $3
"""

# From a letter's job up to the job that was submitted.
UP: Final = """
up AS (
    SELECT job.id, job.parent, job.kind, job.state FROM dead_letter l JOIN job ON job.id = l.job_id
    WHERE l.id = $1 AND l.tenant = $2
    UNION ALL
    SELECT job.id, job.parent, job.kind, job.state FROM up JOIN job ON job.id = up.parent
)"""

# The job that was submitted, of which a letter tells: why it could not be requeued.
ROOT: Final = f"WITH RECURSIVE {UP} SELECT id, kind, state FROM up WHERE parent IS NULL"

# A job ends once, so a letter comes back as a new job: a copy of the submitted one, which does all of its work again.
# So every letter below that one is covered by the copy and is marked with it. Its row's lock lets one at a time do
# this, and is taken before the letters': two letters of one tree make one job and cannot deadlock. While the submitted
# job lives nothing is made; nor for a kind without a first stage here ($4, $5).
REQUEUE_JOB: Final = f"""
WITH RECURSIVE {UP}, root AS (
    SELECT * FROM job WHERE id = (SELECT id FROM up WHERE parent IS NULL)
        AND state IN ('succeeded', 'failed', 'cancelled') FOR UPDATE
), tree AS (
    SELECT id FROM root
    UNION ALL
    SELECT job.id FROM job JOIN tree ON job.parent = tree.id
), covered AS (
    SELECT l.id FROM dead_letter l JOIN tree ON tree.id = l.job_id
    WHERE l.requeued_at IS NULL ORDER BY l.id FOR UPDATE OF l
), made AS (
    INSERT INTO job (id, stage, traceparent, {", ".join(COPIED)})
    SELECT $3, first.stage, $6, {", ".join(f"root.{name}" for name in COPIED)}
    FROM root JOIN unnest($4::text[], $5::text[]) AS first(kind, stage) ON first.kind = root.kind
    WHERE EXISTS (SELECT FROM covered WHERE covered.id = $1)
    RETURNING {JOB_COLUMNS}, epoch, traceparent
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, epoch, traceparent)
    SELECT id, kind, stage, lane, epoch, traceparent FROM made
), marked AS (
    UPDATE dead_letter l SET requeued_at = now(), requeued_as = made.id FROM made, covered WHERE l.id = covered.id
    RETURNING l.id
)
SELECT made.*, (SELECT count(*) FROM marked) AS letters FROM made
"""

# A message that can be read after all: what it summons to is summoned again, as the job's row has it now. A job that
# is not queued needs no summons.
REQUEUE_MESSAGE: Final = """
WITH letter AS (
    SELECT id FROM dead_letter WHERE id = $1 AND source = 'message' AND requeued_at IS NULL FOR UPDATE
), summoned AS (
    SELECT job.id, kind, stage, lane, epoch, traceparent FROM job, letter WHERE job.id = $2 AND state = 'queued'
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, epoch, traceparent)
    SELECT id, kind, stage, lane, epoch, traceparent FROM summoned
)
UPDATE dead_letter l SET requeued_at = now(), requeued_as = summoned.id FROM letter, summoned WHERE l.id = letter.id
RETURNING l.id
"""

# Dropped letters; their failed jobs stay.
DROP: Final = f"DELETE FROM dead_letter l WHERE {SEEN} AND l.id = ANY($3::uuid[]) RETURNING l.id"

# How many letters wait for a decision.
WAITING: Final = "SELECT source, count(*) AS letters FROM dead_letter WHERE requeued_at IS NULL GROUP BY source"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is not a summons, where it was found, and why.

    `digest`: SHA-256 of all its bytes; `error`: JSON.
    """

    topic: str
    partition: int
    offset: int
    payload: bytes
    digest: bytes
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: those of a kind, for a reason, from a source (`job`, `message`); None is any."""

    kind: str | None = None
    reason: str | None = None
    source: str | None = None


async def keep(connection: "Connection", messages: Sequence[Unreadable]) -> int:
    """Keep messages; how many were not kept before."""
    rows = await connection.fetch(
        KEEP,
        [m.topic for m in messages],
        [m.partition for m in messages],
        [m.offset for m in messages],
        [m.payload for m in messages],
        [m.digest for m in messages],
        [m.reason for m in messages],
        [m.error for m in messages],
    )
    return len(rows)


async def letters(
    connection: "Connection",
    tenant: str,
    *,
    operator: bool,
    wanted: Wanted,
    requeued: bool,
    after: UUID | None,
    limit: int,
) -> list[asyncpg.Record]:
    """A page of letters, newest first, without payloads; with `requeued`, also those that were requeued."""
    return await connection.fetch(
        LETTERS, tenant, operator, wanted.kind, wanted.reason, wanted.source, requeued, after, limit
    )


async def letter(connection: "Connection", letter_id: UUID, tenant: str, *, operator: bool) -> asyncpg.Record | None:
    """One letter with `payload` (a message's bytes) and `input` (a job's, JSON text)."""
    return await connection.fetchrow(LETTER, tenant, operator, letter_id)


async def root(connection: "Connection", letter_id: UUID, tenant: str) -> asyncpg.Record | None:
    """`id`, `kind` and `state` of the submitted job that a letter's job stems from."""
    return await connection.fetchrow(ROOT, letter_id, tenant)


async def requeue_job(
    connection: "Connection",
    letter_id: UUID,
    tenant: str,
    *,
    job_id: UUID,
    first_stages: Mapping[str, str],
    traceparent: str | None,
) -> asyncpg.Record | None:
    """Make the letter's work a new job, `job_id`; its row, and `letters`, how many it covers.

    None when nothing was made: no such letter, requeued already, its submitted job lives, or its kind is not among
    `first_stages`.
    """
    return await connection.fetchrow(
        REQUEUE_JOB, letter_id, tenant, job_id, list(first_stages), list(first_stages.values()), traceparent
    )


async def requeue_message(connection: "Connection", letter_id: UUID, job_id: UUID) -> bool:
    """Summon the queued job that a message's letter names; False when it is not queued, or the letter was requeued."""
    return await connection.fetchval(REQUEUE_MESSAGE, letter_id, job_id) is not None


async def drop(connection: "Connection", ids: Sequence[UUID], tenant: str, *, operator: bool) -> int:
    """Delete letters; how many there were."""
    return len(await connection.fetch(DROP, tenant, operator, list(ids)))


async def waiting(connection: "Connection") -> dict[str, int]:
    """How many letters nobody has requeued or dropped, by source."""
    return {row["source"]: row["letters"] for row in await connection.fetch(WAITING)}
