"""Moves on jobs that would otherwise wait forever: due retries, dead workers, lost messages, expired waits."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from infra.postgres.queries.claim import ATTENDANCE
from infra.postgres.queries.ended import FOLLOWS, SWEPT_AFTER, SWEPT_AGAIN_AFTER
from schemas.kinds.kind import DEFAULT_BACKOFF
from schemas.kinds.registry import backoffs

if TYPE_CHECKING:
    from infra.postgres.database import Connection

RESCUER_LOCK: Final = 0x57454C4950  # "WELIP": the advisory lock of the one leading rescuer

# One leader at a time; held to the end of the caller's transaction.
LEAD: Final = "SELECT pg_try_advisory_xact_lock($1)"

# `retry_wait` -> `queued` when its time has come.
QUEUE_DUE: Final = """
WITH due AS (
    SELECT id FROM job WHERE state = 'retry_wait' AND due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE job SET state = 'queued', due_at = now(), summoned_at = now() FROM due WHERE job.id = due.id
    RETURNING job.id, kind, stage, lane, epoch, traceparent
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'state', json_build_object('state', 'queued', 'stage', stage) FROM moved
)
INSERT INTO outbox (job_id, kind, stage, lane, epoch, traceparent)
SELECT id, kind, stage, lane, epoch, traceparent FROM moved RETURNING 1
"""

# Workers that hold jobs and have no session: their lock can be had.
ABSENT: Final = """
WITH holding AS MATERIALIZED (
    SELECT DISTINCT worker FROM job WHERE state = 'running' AND lease_until IS NOT NULL
)
SELECT worker FROM holding WHERE pg_try_advisory_xact_lock($1, hashtext(worker))
"""

# The leases of dead workers end now; what that means for their jobs is said below.
END_LEASES_OF: Final = """
UPDATE job SET lease_until = now() - interval '1 ms' WHERE id = ANY(ARRAY(
    SELECT id FROM job WHERE state = 'running' AND lease_until >= now() AND worker = ANY($1::text[])
    ORDER BY id FOR UPDATE SKIP LOCKED))
"""

# A lease that ran out: the worker is dead or cut off. The try counts. Backoff is exponential with full jitter
# (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), as its kind has it, or else $5 to $6
# seconds; epoch + 1 at the next claim fences the old worker off if it is alive after all. Nobody will name what it
# wrote in this epoch.
END_EXPIRED_LEASES: Final = f"""
WITH lost AS (
    SELECT id, coalesce(known.first_s, $5) AS first_s, coalesce(known.longest_s, $6) AS longest_s
    FROM job LEFT JOIN unnest($2::text[], $3::float8[], $4::float8[]) AS known(kind, first_s, longest_s) USING (kind)
    WHERE state = 'running' AND lease_until < now()
    ORDER BY lease_until LIMIT $1 FOR UPDATE OF job SKIP LOCKED
), moved AS (
    UPDATE job SET
        state = CASE WHEN cancel_requested THEN 'cancelled'
                     WHEN attempt >= max_attempts THEN 'failed' ELSE 'retry_wait' END,
        error = CASE WHEN cancel_requested THEN NULL
                     ELSE json_build_object('code', 'lease_expired', 'message',
                        'the worker stopped answering in attempt ' || attempt || ' of ' || max_attempts,
                        'retryable', true) END,
        due_at = now() + make_interval(
            secs => random() * least(lost.longest_s, lost.first_s * power(2, least(attempt, 20) - 1))),
        lease_until = NULL,
        worker = NULL,
        finished_at = CASE WHEN cancel_requested OR attempt >= max_attempts THEN clock_timestamp() END
    FROM lost WHERE job.id = lost.id
    RETURNING job.id, tenant, kind, stage, state, epoch, attempt, parent, webhook, error,
              CASE WHEN error IS NOT NULL THEN 'lease_expired' END AS code, state = 'failed' AS dead
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'state', json_build_object('state', state, 'stage', stage, 'attempt', attempt, 'error', error)
    FROM moved
), abandoned AS (
    INSERT INTO blob_garbage (blob, due_at, again_at)
    SELECT tenant || '/jobs/' || replace(id::text, '-', '') || '/' || epoch, now() + {SWEPT_AFTER},
           now() + {SWEPT_AGAIN_AFTER}
    FROM moved WHERE state = 'retry_wait'
    ON CONFLICT DO NOTHING
), {FOLLOWS}
SELECT id, parent, state FROM moved
"""

# A queued job whose message seems lost (a topic deleted, a broker that keeps nothing). The pause between two messages
# doubles, so a long healthy backlog costs a few repeated messages a job, not a flood.
SUMMON_AGAIN: Final = """
WITH silent AS (
    SELECT id FROM job
    WHERE state = 'queued' AND summoned_at < now() - make_interval(secs => $2)
        AND now() - summoned_at > summoned_at - due_at
    ORDER BY summoned_at LIMIT $1 FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE job SET summoned_at = now() FROM silent WHERE job.id = silent.id
    RETURNING job.id, kind, stage, lane, epoch, traceparent
)
INSERT INTO outbox (job_id, kind, stage, lane, epoch, traceparent)
SELECT id, kind, stage, lane, epoch, traceparent FROM moved RETURNING 1
"""

# The broker lost everything (it lives in memory and was started anew): every queued job that was summoned before then
# gets its message again, a page at a time.
SUMMON_ALL: Final = """
WITH silent AS (
    SELECT id FROM job WHERE state = 'queued' AND summoned_at < $2 ORDER BY summoned_at LIMIT $1 FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE job SET summoned_at = now() FROM silent WHERE job.id = silent.id
    RETURNING job.id, kind, stage, lane, epoch, traceparent
)
INSERT INTO outbox (job_id, kind, stage, lane, epoch, traceparent)
SELECT id, kind, stage, lane, epoch, traceparent FROM moved RETURNING 1
"""

# Unclaimed in time.
END_EXPIRED: Final = f"""
WITH late AS (
    SELECT id FROM job WHERE state IN ('queued', 'retry_wait') AND expires_at IS NOT NULL AND expires_at < now()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE job SET state = 'failed', finished_at = clock_timestamp(), error = json_build_object(
        'code', 'expired', 'message', 'not finished within its expires_in_s', 'retryable', false)
    FROM late WHERE job.id = late.id
    RETURNING job.id, tenant, kind, stage, state, epoch, parent, webhook, error, 'expired' AS code, false AS dead
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'state', json_build_object('state', state, 'stage', stage, 'error', error) FROM moved
), {FOLLOWS}
SELECT id, parent, state FROM moved
"""

# Parents whose last child ended while the process that should have woken them died.
WAITING_PARENTS: Final = """
SELECT p.id FROM job p
WHERE p.waiting AND NOT EXISTS (
    SELECT 1 FROM job c WHERE c.parent = p.id AND c.state IN ('queued', 'running', 'retry_wait'))
ORDER BY p.id LIMIT $1
"""


async def lead(connection: "Connection") -> bool:
    """Whether the caller's transaction is the leading rescuer's."""
    return bool(await connection.fetchval(LEAD, RESCUER_LOCK))


async def queue_due(connection: "Connection", limit: int) -> int:
    """Queue jobs whose wait is over; how many."""
    return len(await connection.fetch(QUEUE_DUE, limit))


async def absent(connection: "Connection") -> set[str]:
    """Workers that hold jobs, but have no session with Postgres at this moment."""
    return {row["worker"] for row in await connection.fetch(ABSENT, ATTENDANCE)}


async def end_leases_of(connection: "Connection", workers: Collection[str]) -> None:
    """End the leases of these workers."""
    await connection.execute(END_LEASES_OF, list(workers))


async def end_expired_leases(connection: "Connection", limit: int) -> tuple[int, set[UUID]]:
    """End the tries of silent workers; how many, and the parents of children that failed for good."""
    known = backoffs()
    rows = await connection.fetch(
        END_EXPIRED_LEASES,
        limit,
        list(known),
        [backoff.first.total_seconds() for backoff in known.values()],
        [backoff.longest.total_seconds() for backoff in known.values()],
        DEFAULT_BACKOFF.first.total_seconds(),
        DEFAULT_BACKOFF.longest.total_seconds(),
    )
    return _ended(rows)


async def end_expired(connection: "Connection", limit: int) -> tuple[int, set[UUID]]:
    """Fail jobs that waited beyond `expires_at`; how many, and their parents."""
    return _ended(await connection.fetch(END_EXPIRED, limit))


async def summon_again(connection: "Connection", limit: int, *, unclaimed_s: float) -> int:
    """Repeat the messages of queued jobs that were unclaimed for long; returns how many."""
    return len(await connection.fetch(SUMMON_AGAIN, limit, unclaimed_s))


async def summon_all(connection: "Connection", limit: int, *, before: object) -> int:
    """Repeat the messages of every queued job last summoned `before` a time; how many."""
    return len(await connection.fetch(SUMMON_ALL, limit, before))


async def waiting_parents(connection: "Connection", limit: int) -> list[UUID]:
    """Jobs that wait for children of which none is live."""
    return [row["id"] for row in await connection.fetch(WAITING_PARENTS, limit)]


def _ended(rows: list[asyncpg.Record]) -> tuple[int, set[UUID]]:
    parents: set[UUID] = set()
    for row in rows:
        if row["parent"] is not None and row["state"] in ("failed", "cancelled"):
            parents.add(row["parent"])
    return len(rows), parents
