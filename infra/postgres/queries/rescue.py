"""Moves on jobs that would otherwise wait forever: due retries, lost messages, expired waits."""

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import asyncpg

from infra.postgres.queries.claim import ATTENDANCE
from infra.postgres.queries.deaths import OUTRAN, SUSPECT, SUSPECTED
from infra.postgres.queries.ended import FOLLOWS
from infra.postgres.queries.moves import NO_CHILD_LIVES

if TYPE_CHECKING:
    from infra.postgres.database import Connection

RESCUER_LOCK: Final = 0x57454C4950  # "WELIP": the advisory lock of the one leading rescuer

HOLDS_BACK_S: Final = 30.0
"""Jobs that died after an hour must not come back an hour apart."""

# One leader at a time; held to the end of the caller's transaction.
LEAD: Final = "SELECT pg_try_advisory_xact_lock($1)"

# What a sweep may find. Most of the time there is nothing, and this is all that is asked. The orders keep the planner
# to the partial indexes, which are all but empty then.
LOOK: Final = """
SELECT coalesce((SELECT due_at <= now() FROM job WHERE state = 'retry_wait' ORDER BY due_at LIMIT 1), false) AS due,
    (SELECT lease_until FROM job WHERE state = 'running' AND lease_until IS NOT NULL ORDER BY lease_until LIMIT 1)
        IS NOT NULL AS leased,
    EXISTS (SELECT FROM batch WHERE due_at <= now() AND closing IS NULL AND finalizing_at IS NULL)
        OR EXISTS (SELECT FROM batch WHERE closing IS NOT NULL AND finalizing_at IS NULL) AS closing
"""

# `retry_wait` -> `queued` when its time has come. Suspects (`queries/deaths.py` says what they are) go a few at a time,
# so that each is likely to be the only one where it runs: half as many as workers live, fewer the more there is against
# them, and at least one. The quickest killers go first: they are found soonest, and cost the others least. A suspect
# on its way holds the others back until it has ended its stage, has run longer than it did when its worker died, or has
# run for $3 seconds; and for a minute at most while no worker takes it. Those that start later and outrun their last
# death are cleared all the same, and what kills late is left over. Bulk work is held until its turn again, for its
# parent may be paused or limited.
QUEUE_DUE: Final = f"""
WITH workers AS (
    SELECT count(DISTINCT objid) AS living FROM pg_locks
    WHERE locktype = 'advisory' AND classid::bigint = $2 AND mode = 'ShareLock' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), on_its_way AS (
    SELECT count(*) AS n, max(suspicion) AS suspicion FROM job
    WHERE {SUSPECT} AND (state = 'queued' AND due_at > now() - interval '1 min'
        OR state = 'running' AND claimed_at > now() - make_interval(secs => $3) AND NOT {OUTRAN})
), lined_up AS (
    SELECT id, row_number() OVER line AS place, max(suspicion) OVER line AS suspicion FROM job
    WHERE {SUSPECT} AND state = 'retry_wait' AND due_at <= now()
    WINDOW line AS (ORDER BY died_after, id)
), suspect AS (
    SELECT job.id FROM job JOIN lined_up USING (id) CROSS JOIN on_its_way CROSS JOIN workers
    WHERE job.state = 'retry_wait' AND place + on_its_way.n
        <= greatest(1, (living + 1) / greatest(lined_up.suspicion, on_its_way.suspicion))
    FOR UPDATE OF job SKIP LOCKED
), other AS (
    SELECT id FROM job WHERE state = 'retry_wait' AND due_at <= now() AND suspicion < {SUSPECTED}
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
), due AS (
    SELECT id FROM suspect UNION ALL SELECT id FROM other
), moved AS (
    UPDATE job SET state = 'queued', due_at = now(),
        summoned_at = CASE WHEN lane = 'bulk' THEN NULL ELSE now() END
    FROM due WHERE job.id = due.id
    RETURNING job.id, kind, stage, lane, model, epoch, traceparent, summoned_at
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'state', json_build_object('state', 'queued', 'stage', stage) FROM moved
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
    SELECT id, kind, stage, lane, model, epoch, traceparent FROM moved WHERE summoned_at IS NOT NULL
)
SELECT id FROM moved
"""

# A queued job whose message seems lost (a topic deleted, a broker that keeps nothing). The pause between two messages
# doubles, so a long healthy backlog costs a few repeated messages a job, not a flood. A held job has had none to lose.
SUMMON_AGAIN: Final = """
WITH silent AS (
    SELECT id FROM job
    WHERE state = 'queued' AND summoned_at < now() - make_interval(secs => $2)
        AND now() - summoned_at > summoned_at - due_at
    ORDER BY summoned_at LIMIT $1 FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE job SET summoned_at = now() FROM silent WHERE job.id = silent.id
    RETURNING job.id, kind, stage, lane, model, epoch, traceparent
)
INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
SELECT id, kind, stage, lane, model, epoch, traceparent FROM moved RETURNING 1
"""

# The broker lost everything (it lives in memory and was started anew): every queued job that was summoned before then
# gets its message again, a page at a time. Held jobs were not.
SUMMON_ALL: Final = """
WITH silent AS (
    SELECT id FROM job WHERE state = 'queued' AND summoned_at < $2 ORDER BY summoned_at LIMIT $1 FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE job SET summoned_at = now() FROM silent WHERE job.id = silent.id
    RETURNING job.id, kind, stage, lane, model, epoch, traceparent
)
INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
SELECT id, kind, stage, lane, model, epoch, traceparent FROM moved RETURNING 1
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
WAITING_PARENTS: Final = f"""
SELECT p.id FROM job p
WHERE p.waiting AND {NO_CHILD_LIVES}
ORDER BY p.id LIMIT $1
"""


class Found(NamedTuple):
    """Whether jobs wait for a retry that is due, workers hold leases, and batches are to be closed."""

    due: bool
    leased: bool
    closing: bool


async def lead(connection: "Connection") -> bool:
    """Whether the caller's transaction is the leading rescuer's."""
    return bool(await connection.fetchval(LEAD, RESCUER_LOCK))


async def look(connection: "Connection") -> Found:
    """What there may be to do."""
    row = await connection.fetchrow(LOOK)
    assert row is not None
    return Found(**row)


async def queue_due(connection: "Connection", limit: int) -> int:
    """Queue jobs whose wait is over, of suspects only those whose turn it is; how many."""
    return len(await connection.fetch(QUEUE_DUE, limit, ATTENDANCE, HOLDS_BACK_S))


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
