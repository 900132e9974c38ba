"""Owners read their jobs: single jobs, lists, counts of children, events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from infra.postgres.queries.columns import names
from infra.postgres.queries.submit import NewJob

if TYPE_CHECKING:
    from infra.postgres.database import Connection

COLUMNS: Final = ", ".join(
    [
        *names(NewJob, but=("input", "fingerprint", "traceparent", "expires_in_s")),
        *("state", "attempt", "progress_done", "progress_total", "progress_message", "result", "error", "waiting"),
        *("cancel_requested", "created_at", "started_at", "finished_at", "expires_at"),
        *("paused_at", "weight", "at_once", "deadline"),
    ]
)
"""The columns with which jobs are read: what they were made with, and their results."""

# One job of a tenant.
JOB: Final = f"SELECT {COLUMNS} FROM job WHERE id = $1 AND tenant = $2"

# How many children of these parents are in each state, from the index alone.
CHILDREN: Final = """
SELECT parent, state, count(*) AS jobs FROM job WHERE parent = ANY($1::uuid[]) GROUP BY parent, state
"""

# The children of one fan-out of a parent in the order of their creation, a page at a time, for the stage that sums them
# up; those of the last fan-out if $2 is null. Children from before there were keys have their ids as keys.
CHILD_RESULTS: Final = """
SELECT id, coalesce(key, id::text) AS key, kind, round, state, input, result, error FROM job
WHERE parent = $1 AND round = coalesce($2, (SELECT greatest(p.rounds, 1) FROM job p WHERE p.id = $1))
    AND ($3::uuid IS NULL OR id > $3)
ORDER BY id LIMIT $4
"""

# The children of one fan-out that failed although trying again can help, in the order of their creation.
CHILDREN_TO_REPEAT: Final = """
SELECT id, key, kind, input, max_attempts, timeout_s FROM job
WHERE parent = $1 AND round = $2 AND state = 'failed' AND (error->>'retryable')::boolean
    AND ($3::uuid IS NULL OR id > $3)
ORDER BY id LIMIT $4
"""

# Which of these jobs have ended, for callers who wait.
ENDED: Final = """
SELECT id FROM job WHERE id = ANY($1::uuid[]) AND state IN ('succeeded', 'failed', 'cancelled')
"""

# The events after a place in each of these jobs, a page per job, and whether the job has ended. All in one snapshot, so
# that the event that ended a job is among those read. A removed job counts as ended. A job without new events is a row.
FOLLOWED: Final = """
SELECT at.n, coalesce(job.state IN ('succeeded', 'failed', 'cancelled'), true) AS ended, e.id, e.type, e.at, e.data
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS at(job_id, after, n)
LEFT JOIN job ON job.id = at.job_id
LEFT JOIN LATERAL (
    SELECT id, type, at, data FROM job_event WHERE job_id = at.job_id AND id > at.after ORDER BY id LIMIT $3
) e ON true
ORDER BY at.n, e.id
"""

# Queue depth, of it the jobs that are held, and age in seconds, per topic; index-only.
QUEUES: Final = """
SELECT kind, stage, lane, model, count(*) AS jobs, count(*) FILTER (WHERE summoned_at IS NULL) AS held,
    extract(epoch FROM now() - min(due_at))::float8 AS age_s
FROM job WHERE state = 'queued' GROUP BY kind, stage, lane, model
"""

# Jobs that workers hold now, per topic.
RUNNING: Final = """
SELECT kind, stage, lane, model, count(*) AS jobs FROM job
WHERE state = 'running' AND lease_until IS NOT NULL GROUP BY kind, stage, lane, model
"""


async def job(connection: "Connection", job_id: UUID, tenant: str) -> asyncpg.Record | None:
    """A job of the tenant."""
    return await connection.fetchrow(JOB, job_id, tenant)


async def children(connection: "Connection", parents: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """Each parent's children, counted by state; a parent without children is missing."""
    counts: dict[UUID, dict[str, int]] = {}
    for row in await connection.fetch(CHILDREN, list(parents)):
        counts.setdefault(row["parent"], {})[row["state"]] = row["jobs"]
    return counts


async def child_results(
    connection: "Connection", parent: UUID, round: int | None, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """A page of a fan-out's children, by default of the last one; `input`, `result`, `error` are JSON texts."""
    return await connection.fetch(CHILD_RESULTS, parent, round, after, limit)


async def children_to_repeat(
    connection: "Connection", parent: UUID, round: int, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """A page of a fan-out's children that failed and may be tried again; `input` is a JSON text."""
    return await connection.fetch(CHILDREN_TO_REPEAT, parent, round, after, limit)


async def ended(connection: "Connection", ids: Sequence[UUID]) -> set[UUID]:
    """Those of the jobs that are in a final state."""
    return {row["id"] for row in await connection.fetch(ENDED, list(ids))}


async def followed(
    connection: "Connection", places: Sequence[tuple[UUID, int]], limit: int
) -> list[tuple[list[asyncpg.Record], bool]]:
    """For each `(job, after)` the events with ids above `after`, at most `limit`, and whether no more can follow."""
    found: list[tuple[list[asyncpg.Record], bool]] = [([], False) for _ in places]
    for row in await connection.fetch(FOLLOWED, [job for job, _ in places], [after for _, after in places], limit):
        events, _ = found[row["n"] - 1]
        if row["id"] is not None:
            events.append(row)
        found[row["n"] - 1] = (events, row["ended"] and len(events) < limit)
    return found


async def queues(connection: "Connection") -> list[asyncpg.Record]:
    """`jobs` queued, of them `held`, and `age_s` of the oldest, for each kind, stage, lane and model that has any."""
    return await connection.fetch(QUEUES)


async def running(connection: "Connection") -> list[asyncpg.Record]:
    """`jobs` held by workers, for each kind, stage, lane and model that has any."""
    return await connection.fetch(RUNNING)
