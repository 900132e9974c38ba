"""Dead letters are kept, read, requeued or dropped. A tenant sees its jobs' letters, an operator also messages'."""

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

# Which letters the caller may see. A message belongs to no tenant, so only an operator sees it.
SEEN: Final = "(l.tenant = $1 OR ($2::bool AND l.source = 'message' AND l.tenant IS NULL))"

# Messages that could not be read. The same bytes at the same offset are one letter, however often they are read.
KEEP: Final = """
INSERT INTO dead_letter (source, topic, partition, "offset", payload, digest, reason, error)
SELECT 'message', * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[], $7::json[])
ON CONFLICT (topic, partition, "offset", digest) WHERE source = 'message' DO NOTHING
RETURNING id
"""

# A page of letters, newest first: ids are UUIDv7. $6 says whether requeued ones are included.
LETTERS: Final = f"""
SELECT {COLUMNS} FROM dead_letter l
WHERE {SEEN} AND ($3::text IS NULL OR l.kind = $3) AND ($4::text IS NULL OR l.reason = $4)
    AND ($5::text IS NULL OR l.source = $5) AND ($6::bool OR l.requeued_at IS NULL) AND ($7::uuid IS NULL OR l.id < $7)
ORDER BY l.id DESC LIMIT $8
"""

# One letter with its payload: a message's bytes, or the job's input.
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

# The submitted job that a letter stems from, to say why it could not be requeued.
ROOT: Final = f"WITH RECURSIVE {UP} SELECT id, kind, state FROM up WHERE parent IS NULL"

# A job ends only once, so a letter comes back as a new job: a copy of the submitted one, which repeats all of its work.
# The copy covers every letter in the tree of the submitted job, so all are marked with it. The lock on that job's row
# admits one requeue at a time. It is taken before the letters' locks, so two letters of one tree make one job and
# cannot deadlock. Nothing is made while the submitted job lives, or for a kind without a first stage here ($4, $5).
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
    INSERT INTO job (id, stage, traceparent, summoned_at, {", ".join(COPIED)})
    SELECT $3, first.stage, $6, CASE WHEN root.lane = 'bulk' THEN NULL ELSE now() END,
        {", ".join(f"root.{name}" for name in COPIED)}
    FROM root JOIN unnest($4::text[], $5::text[]) AS first(kind, stage) ON first.kind = root.kind
    WHERE EXISTS (SELECT FROM covered WHERE covered.id = $1)
    RETURNING {JOB_COLUMNS}, epoch, traceparent, summoned_at
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
    SELECT id, kind, stage, lane, model, epoch, traceparent FROM made WHERE summoned_at IS NOT NULL
), marked AS (
    UPDATE dead_letter l SET requeued_at = now(), requeued_as = made.id FROM made, covered WHERE l.id = covered.id
    RETURNING l.id
)
SELECT made.*, (SELECT count(*) FROM marked) AS letters FROM made
"""

# A message that turned out to be readable: its job is summoned again, as the row has it now. A job that is not queued
# needs no summons; one that is held gets its own in its turn.
REQUEUE_MESSAGE: Final = """
WITH letter AS (
    SELECT id FROM dead_letter WHERE id = $1 AND source = 'message' AND requeued_at IS NULL FOR UPDATE
), summoned AS (
    SELECT job.id, kind, stage, lane, model, epoch, traceparent, summoned_at FROM job, letter
    WHERE job.id = $2 AND state = 'queued'
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
    SELECT id, kind, stage, lane, model, epoch, traceparent FROM summoned WHERE summoned_at IS NOT NULL
)
UPDATE dead_letter l SET requeued_at = now(), requeued_as = summoned.id FROM letter, summoned WHERE l.id = letter.id
RETURNING l.id
"""

# Dropped letters; the failed jobs stay.
DROP: Final = f"DELETE FROM dead_letter l WHERE {SEEN} AND l.id = ANY($3::uuid[]) RETURNING l.id"

# How many letters wait for a decision.
WAITING: Final = "SELECT source, count(*) AS letters FROM dead_letter WHERE requeued_at IS NULL GROUP BY source"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is not a summons: where it was found, and why it is not.

    `digest` is the SHA-256 of all its bytes, `error` is JSON.
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
    """Which letters are wanted: those of a kind, a reason and a source (`job`, `message`); None means any."""

    kind: str | None = None
    reason: str | None = None
    source: str | None = None


async def keep(connection: "Connection", messages: Sequence[Unreadable]) -> int:
    """Keep messages; returns how many are new."""
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
    """Submit the letter's work again as job `job_id`; returns its row, with `letters`, how many it covers.

    Returns None without making a job when there is no such letter, it was requeued already, its submitted job lives, or
    the job's kind is not in `first_stages`.
    """
    return await connection.fetchrow(
        REQUEUE_JOB, letter_id, tenant, job_id, list(first_stages), list(first_stages.values()), traceparent
    )


async def requeue_message(connection: "Connection", letter_id: UUID, job_id: UUID) -> bool:
    """Summon the queued job that a message's letter names; False if it is not queued or the letter was requeued."""
    return await connection.fetchval(REQUEUE_MESSAGE, letter_id, job_id) is not None


async def drop(connection: "Connection", ids: Sequence[UUID], tenant: str, *, operator: bool) -> int:
    """Delete letters; returns how many there were."""
    return len(await connection.fetch(DROP, tenant, operator, list(ids)))


async def waiting(connection: "Connection") -> dict[str, int]:
    """How many letters nobody has requeued or dropped, by source."""
    return {row["source"]: row["letters"] for row in await connection.fetch(WAITING)}
