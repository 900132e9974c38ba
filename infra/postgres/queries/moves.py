"""A try ends: the new state, its history and the next message in one statement, for many jobs at once."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from infra.ahead import ahead
from infra.postgres.queries.claim import GIVEN
from infra.postgres.queries.ended import FOLLOWS
from infra.postgres.queries.submit import NewJob, make_children
from schemas.errors import LeaseLost
from schemas.lifecycle import JobState
from schemas.outcomes import UNTIL_RESUMED

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# The fence: only a row that is still running under this epoch, for this worker, moves; a stale worker's result finds
# none. A job whose owner asked to cancel it goes no further than the stage it is in: whatever is not its end becomes
# `cancelled`. A job that was to wait until its owner resumes it does not wait if that has happened meanwhile.
FINISH: Final = f"""
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::json[], $6::json[], $7::json[],
                         $8::float8[], $9::int[], $10::text[], $11::bool[])
        AS g(id, epoch, state, stage, carry, result, error, delay_s, attempt, code, dead)
), held AS (
    SELECT job.id,
           CASE WHEN job.cancel_requested AND g.state IN ('queued', 'retry_wait') THEN 'cancelled'
                ELSE g.state END AS state,
           g.stage, g.carry, g.result, g.error,
           CASE WHEN g.delay_s >= {UNTIL_RESUMED.total_seconds()} AND job.paused_at IS NULL THEN 0
                ELSE g.delay_s END AS delay_s,
           g.attempt, g.code, g.dead
    FROM job JOIN given g ON g.id = job.id AND g.epoch = job.epoch
    WHERE job.id = ANY($1) AND job.state = 'running' AND job.worker = $12 AND NOT job.waiting
    ORDER BY job.id FOR UPDATE OF job
), moved AS (
    UPDATE job SET
        state = held.state,
        stage = coalesce(held.stage, job.stage),
        carry = CASE WHEN held.stage IS NULL THEN job.carry ELSE held.carry END,
        attempt = coalesce(held.attempt, job.attempt),
        deaths = CASE WHEN held.stage IS NULL THEN job.deaths ELSE 0 END,
        suspicion = CASE WHEN held.stage IS NULL THEN job.suspicion ELSE 0 END,
        died_after = CASE WHEN held.stage IS NULL THEN job.died_after END,
        result = held.result,
        error = held.error,
        due_at = now() + make_interval(secs => held.delay_s),
        summoned_at = now(),
        lease_until = NULL,
        worker = NULL,
        finished_at = CASE WHEN held.state IN ('succeeded', 'failed', 'cancelled') THEN clock_timestamp() END
    FROM held WHERE job.id = held.id AND job.id = ANY($1)
    RETURNING job.id, job.tenant, job.kind, job.stage, job.lane, job.model, job.state, job.epoch, job.attempt,
              job.traceparent, job.parent, job.webhook, job.error, held.code, held.dead
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'state', CASE
        WHEN error IS NULL THEN json_build_object('state', state, 'stage', stage)
        ELSE json_build_object('state', state, 'stage', stage, 'attempt', attempt, 'error', error) END
    FROM moved
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
    SELECT id, kind, stage, lane, model, epoch, traceparent FROM moved WHERE state = 'queued'
), {FOLLOWS}
SELECT id, epoch, state, parent FROM moved
"""

_MAY_FAN_OUT: Final = """
id = $1 AND epoch = $2 AND worker = {worker} AND state = 'running' AND NOT waiting AND NOT cancel_requested"""

# Before a fan-out: whether its fence holds, so that nothing is made in vain.
MAY_FAN_OUT: Final = f"SELECT EXISTS (SELECT FROM job WHERE {_MAY_FAN_OUT.format(worker='$3')})"

# Second half of a fan-out, after its children were made: the parent gives up its worker and waits; its epoch grows, so
# the stage that fanned out can write no more, and its rounds are counted, so that the children of one fan-out are not
# taken for another's. Nothing comes back when the fence fails or the owner asked to cancel. Until now the parent's row
# was locked only as a foreign key's target, so that making many children holds up neither heartbeats nor claims.
WAIT_FOR_CHILDREN: Final = f"""
WITH parent AS (
    UPDATE job SET waiting = true, epoch = epoch + 1, attempt = 0, stage = $3, carry = $4::json, lease_until = NULL,
        worker = NULL, deaths = 0, suspicion = 0, died_after = NULL,
        progress_done = 0, progress_total = $5, progress_message = NULL, rounds = rounds + 1,
        at_once = coalesce(at_once, $7)
    WHERE {_MAY_FAN_OUT.format(worker="$6")}
    RETURNING id, rounds
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'stage', json_build_object('stage', $3::text, 'children', $5::int) FROM parent
)
SELECT rounds FROM parent
"""

# Of a parent `p`. One entry of the index `job_children` answers this, and the order keeps the planner to that index:
# without it, it would walk through the live children of all other parents, or through the table. It begins with the
# running children that began last: those that began first have ended, and may not be vacuumed yet.
NO_CHILD_LIVES: Final = """(
    SELECT true FROM job c WHERE c.parent = p.id AND c.state IN ('queued', 'running', 'retry_wait')
    ORDER BY c.state DESC, c.id DESC LIMIT 1) IS NULL"""

# One of the children of a parent `p` that live; null when none does. The one that will probably live longest: of the
# queued ones the youngest, so that a worker need not look again until it has ended. A range of one state, in the order
# of `job_children`: the equality would fit indexes of queued jobs as well.
_LIVING_CHILD: Final = """coalesce(
    (SELECT c.id FROM job c WHERE c.parent = p.id AND c.state >= 'queued' AND c.state <= 'queued'
        ORDER BY c.state DESC, c.id DESC LIMIT 1),
    (SELECT c.id FROM job c WHERE c.parent = p.id AND c.state IN ('running', 'retry_wait')
        ORDER BY c.state DESC, c.id DESC LIMIT 1))"""

# Fan-in without a counter, so without a hot row: after a child's end is committed, its parent goes on unless a live
# child is left. Run after the commit, the last of two children that end together always sees the other one's end.
RESUME_PARENTS: Final = f"""
WITH looked AS MATERIALIZED (
    SELECT p.id, {_LIVING_CHILD} AS child FROM job p WHERE p.id = ANY({GIVEN}) AND p.waiting AND p.state = 'running'
), ready AS (
    SELECT p.id FROM job p
    WHERE p.id = ANY(array(SELECT id FROM looked WHERE child IS NULL)) AND p.waiting AND p.state = 'running'
    ORDER BY p.id FOR UPDATE
), moved AS (
    UPDATE job SET state = 'queued', waiting = false, due_at = now(), summoned_at = now()
    FROM ready WHERE job.id = ready.id AND job.id = ANY({GIVEN}) AND job.waiting
    RETURNING job.id, job.kind, job.stage, job.lane, job.model, job.epoch, job.traceparent
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'state', json_build_object('state', 'queued', 'stage', stage) FROM moved
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
    SELECT id, kind, stage, lane, model, epoch, traceparent FROM moved
)
SELECT id, NULL::uuid AS child FROM moved UNION ALL SELECT id, child FROM looked WHERE child IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Move:
    """The end of one try. JSON fields are texts.

    `stage`: the next stage, with its `carry`; None keeps both. `attempt`: what to set the counter to; None keeps it.
    `code`: of the error a job failed with. `dead`: it failed because its attempts are spent: keep a dead letter.
    """

    id: UUID
    epoch: int
    state: JobState
    stage: str | None = None
    carry: str | None = None
    result: str | None = None
    error: str | None = None
    delay_s: float = 0.0
    attempt: int | None = None
    code: str | None = None
    dead: bool = False


class Moved(NamedTuple):
    """Where a job went, and whose child it is."""

    state: JobState
    parent: UUID | None


async def finish(connection: "Connection", moves: Sequence[Move], *, worker: str) -> list[Moved | None]:
    """Record the ends of a worker's tries; None for one whose fence failed: its result must be thrown away."""
    rows = await connection.fetch(
        FINISH,
        [m.id for m in moves],
        [m.epoch for m in moves],
        [m.state.value for m in moves],
        [m.stage for m in moves],
        [m.carry for m in moves],
        [m.result for m in moves],
        [m.error for m in moves],
        [m.delay_s for m in moves],
        [m.attempt for m in moves],
        [m.code for m in moves],
        [m.dead for m in moves],
        worker,
    )
    moved = {(row["id"], row["epoch"]): Moved(JobState(row["state"]), row["parent"]) for row in rows}
    return [moved.get((move.id, move.epoch)) for move in moves]


async def fan_out(
    connection: "Connection",
    job_id: UUID,
    epoch: int,
    *,
    worker: str,
    then: str,
    carry: str | None,
    count: int,
    pages: AsyncIterator[Sequence[NewJob]],
    at_once: int | None = None,
) -> None:
    """Make `count` children and let the parent wait; in the caller's transaction. `at_once`: its limit of bulk
    children, if its owner set none.

    Raises `LeaseLost` when the fence failed: then the transaction must not be committed.
    """
    may = bool(await connection.fetchval(MAY_FAN_OUT, job_id, epoch, worker))
    if may:
        async with aclosing(ahead(pages)) as read:
            async for page in read:
                await make_children(connection, page)
    if not may or not await connection.fetchval(WAIT_FOR_CHILDREN, job_id, epoch, then, carry, count, worker, at_once):
        raise LeaseLost("the job is no longer this worker's, or is to be cancelled")


class Looked(NamedTuple):
    """Parents that were waiting: how many were queued, and of each other one a child that lives."""

    moved: int
    living: dict[UUID, UUID]


async def resume_parents(connection: "Connection", parents: Sequence[UUID]) -> Looked:
    """Queue those of the waiting parents that have no live child left."""
    rows = await connection.fetch(RESUME_PARENTS, list(parents))
    living = {row["id"]: row["child"] for row in rows if row["child"] is not None}
    return Looked(len(rows) - len(living), living)
