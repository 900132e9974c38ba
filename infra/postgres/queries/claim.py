"""A worker takes jobs and keeps them: claims and heartbeats, both for many jobs at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import asyncpg
import orjson

if TYPE_CHECKING:
    from infra.postgres.database import Connection

ATTENDANCE: Final = 0x57454C49  # "WELI": the class of the advisory locks that living workers hold


class Claimed(NamedTuple):
    """A job as its worker gets it: a field is a column of its row. JSON fields are texts.

    `claimed_at`: by Postgres's clock. `rounds`: how many fan-outs it has made. A tuple, since a row is one: to fill a
    dataclass takes as long as the stage of a no-op job.
    """

    id: UUID
    tenant: str
    kind: str
    stage: str
    lane: str
    model: str | None
    epoch: int
    attempt: int
    max_attempts: int
    timeout_s: float | None
    input: str
    carry: str | None
    error: str | None
    rounds: int
    traceparent: str | None
    created_at: datetime
    started_at: datetime
    worker: str
    claimed_at: datetime


GIVEN: Final = "array(SELECT unnest($1::uuid[]))"
"""The ids that a statement is given. The subquery hides their number from the planner, which would else plan anew for
each execution, for some 0.4 ms, since it expects ten of them and fewer are cheaper.
"""

CLAIMED: Final = ", ".join(f"job.{name}" for name in Claimed._fields)

# `queued` -> `running`, epoch + 1, lease by the database's clock. A summons whose epoch is not the row's is stale (the
# job was claimed, moved on, or ended) and finds no row; so is one of a job that was taken back since, and is held now.
# SKIP LOCKED: whoever holds the row is claiming or ending it.
# The ids are given once more as an array: `infra/postgres/database.py` says why. The coalesce hides the condition from
# the index of queued jobs: the planner, whose statistics of a table full of finished jobs know no queued ones, would
# read that whole index for each claim instead of looking the few ids up.
CLAIM: Final = f"""
WITH summoned AS (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[]) AS s(id, epoch, stage)
), held AS (
    SELECT job.id FROM job JOIN summoned s ON s.id = job.id AND s.epoch = job.epoch AND s.stage = job.stage
    WHERE job.id = ANY({GIVEN}) AND coalesce(job.state, '') = 'queued' AND job.summoned_at IS NOT NULL
        AND (job.expires_at IS NULL OR job.expires_at > now())
    ORDER BY job.id FOR UPDATE OF job SKIP LOCKED
), claimed AS (
    UPDATE job SET state = 'running', epoch = epoch + 1, attempt = attempt + 1, worker = $4,
        lease_until = now() + make_interval(secs => $5), claimed_at = now(), started_at = coalesce(started_at, now())
    FROM held WHERE job.id = held.id AND job.id = ANY({GIVEN})
    RETURNING {CLAIMED}
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'state', json_build_object('state', 'running', 'stage', stage, 'attempt', attempt) FROM claimed
)
SELECT * FROM claimed
"""

# Says for as long as this session lasts that the worker lives: when its process dies, its kernel ends the session.
# Shared, so that two names of the same hash do not wait for each other.
ATTEND: Final = "SELECT pg_advisory_lock_shared($1, hashtext($2))"

SERVING: Final = 0x4D4F444C  # "MODL": the class of the locks that say which models the living workers serve

# The same for the models that a worker serves: no worker that is dead can seem to serve any.
SERVE: Final = "SELECT pg_advisory_lock_shared($1, hashtext(model)) FROM unnest($2::text[]) AS model"

# Those of these models that a living worker serves.
SERVED: Final = """
SELECT model FROM unnest($2::text[]) AS model WHERE EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = $1 AND mode = 'ShareLock' AND granted
        AND objid::bigint = hashtext(model)::bigint & 4294967295
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""

# Longer leases for all of a worker's jobs. What does not come back is lost: it ended, or another worker has it. Rows
# are locked in id order, as completions do, so that the two cannot deadlock; and not their keys, so that a heartbeat
# does not wait for the many children that one of the jobs is making.
HEARTBEAT: Final = f"""
WITH mine AS (
    SELECT * FROM unnest($1::uuid[], $2::int[]) AS m(id, epoch)
), held AS (
    SELECT job.id FROM job JOIN mine ON mine.id = job.id AND mine.epoch = job.epoch
    WHERE job.id = ANY({GIVEN}) AND job.state = 'running' AND job.worker = $4 ORDER BY job.id FOR NO KEY UPDATE OF job
)
UPDATE job SET lease_until = now() + make_interval(secs => $3) FROM held
WHERE job.id = held.id AND job.id = ANY({GIVEN})
RETURNING job.id, job.cancel_requested
"""

# Live progress, fenced; also an event, so that streams show it. Metrics are in the event alone.
PROGRESS: Final = """
WITH moved AS (
    UPDATE job SET progress_done = $3, progress_total = $4, progress_message = $5
    WHERE id = $1 AND epoch = $2 AND worker = $6 AND state = 'running' RETURNING id
)
INSERT INTO job_event (job_id, type, data)
SELECT id, 'progress', CASE
    WHEN $7::json IS NULL THEN json_build_object('done', $3::int, 'total', $4::int, 'message', $5::text)
    ELSE json_build_object('done', $3::int, 'total', $4::int, 'message', $5::text, 'metrics', $7::json) END FROM moved
"""


async def claim(
    connection: "Connection", summons: Sequence[tuple[UUID, int, str]], *, worker: str, lease_s: float
) -> list[Claimed]:
    """Claim by `(id, epoch, stage)`; the jobs that are this worker's now."""
    rows = await connection.fetch(
        CLAIM, [s[0] for s in summons], [s[1] for s in summons], [s[2] for s in summons], worker, lease_s
    )
    return list(map(Claimed._make, rows))


async def attend(
    connection: "Connection | asyncpg.Connection[asyncpg.Record]", worker: str, models: Sequence[str] = ()
) -> None:
    """Let a worker count as alive, and its models as served, until this session ends."""
    await connection.execute(ATTEND, ATTENDANCE, worker)
    if models:
        await connection.execute(SERVE, SERVING, list(models))


async def served(connection: "Connection", models: Sequence[str]) -> set[str]:
    """Those of the models that a living worker serves."""
    return {row["model"] for row in await connection.fetch(SERVED, SERVING, list(models))}


async def heartbeat(
    connection: "Connection | asyncpg.Connection[asyncpg.Record]",
    held: Sequence[tuple[UUID, int]],
    *,
    worker: str,
    lease_s: float,
) -> dict[UUID, bool]:
    """Renew a worker's leases of `(id, epoch)`; the ids still held, each with whether its owner asked to cancel it."""
    rows = await connection.fetch(HEARTBEAT, [h[0] for h in held], [h[1] for h in held], lease_s, worker)
    return {row["id"]: row["cancel_requested"] for row in rows}


async def progress(
    connection: "Connection",
    job_id: UUID,
    epoch: int,
    done: int,
    total: int,
    message: str | None,
    metrics: Mapping[str, float] | None = None,
    *,
    worker: str,
) -> None:
    """Record progress, unless the worker no longer holds the job under `epoch`."""
    told = None if metrics is None else orjson.dumps(dict(metrics)).decode()
    await connection.execute(PROGRESS, job_id, epoch, done, total, message, worker, told)
