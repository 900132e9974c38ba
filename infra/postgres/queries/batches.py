"""Batches: begun, closed early, written; and the lines that ended, for their files."""

from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.postgres.database import Connection

WARNED_WITH: Final = 0.1
"""The share of its window that is left when a batch's owner is warned."""

# Every line is a request: from now on the window is kept here, and what is not done by its end is cut off. Until now
# the job's own expiry, which would end the batch without its files, kept it. Its end is also the deadline before which
# the lines are preferred, unless the owner set another. A repeated try changes nothing.
BEGIN: Final = """
WITH begun AS (
    UPDATE job SET expires_at = NULL, deadline = coalesce(deadline, created_at + make_interval(secs => $3))
    WHERE id = $1 AND state = 'running' RETURNING id, created_at
), made AS (
    INSERT INTO batch (job_id, lines, expires_at, due_at)
    SELECT id, $2, created_at + make_interval(secs => $3), created_at + make_interval(secs => $3 * (1 - $4::float8))
    FROM begun
    ON CONFLICT (job_id) DO UPDATE SET lines = excluded.lines
    RETURNING expires_at
)
SELECT expires_at > now() AS in_time FROM made
"""

# Why the batch was closed, now that its files are written.
FINALIZE: Final = """
UPDATE batch SET finalizing_at = coalesce(finalizing_at, now()) WHERE job_id = $1 RETURNING closing
"""

# The owner asked to cancel a batch whose lines are being done. The row of its job is locked, so that it cannot go on to
# its files meanwhile.
CLOSE: Final = """
WITH waiting AS (
    SELECT id FROM job WHERE id = $1 AND tenant = $2 AND waiting FOR NO KEY UPDATE
), closed AS (
    UPDATE batch SET closing = 'cancelled', closing_at = now() FROM waiting
    WHERE batch.job_id = waiting.id AND closing IS NULL AND finalizing_at IS NULL
    RETURNING job_id
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT job_id, 'closing', json_build_object('reason', 'cancelled') FROM closed
)
SELECT EXISTS (SELECT FROM waiting) AS waiting
"""

# Batches whose time is nearly over, to be warned of it, and those whose time is over, to be closed. The rows of their
# jobs are locked, as by all who write events, so that a job's events become visible in their order.
CLOSE_DUE: Final = """
WITH due AS (
    SELECT b.job_id, b.expires_at <= now() AS over FROM batch b JOIN job ON job.id = b.job_id AND job.waiting
    WHERE b.due_at <= now() AND b.closing IS NULL AND b.finalizing_at IS NULL
    ORDER BY b.due_at LIMIT $1 FOR NO KEY UPDATE OF job SKIP LOCKED
), changed AS (
    UPDATE batch SET due_at = expires_at,
        closing = CASE WHEN over THEN 'expired' END, closing_at = CASE WHEN over THEN now() END
    FROM due WHERE batch.job_id = due.job_id
    RETURNING batch.job_id, over, expires_at
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT job_id, CASE WHEN over THEN 'closing' ELSE 'warning' END, CASE
        WHEN over THEN json_build_object('reason', 'expired')
        ELSE json_build_object('code', 'batch_expires_soon', 'expires_at', expires_at,
            'message', 'what is not done when the completion window ends is cut off') END
    FROM changed
)
SELECT count(*) FROM changed
"""

# Batches that are being closed and still wait for lines.
CLOSING: Final = """
SELECT b.job_id FROM batch b JOIN job ON job.id = b.job_id AND job.waiting
WHERE b.closing IS NOT NULL AND b.finalizing_at IS NULL ORDER BY b.closing_at LIMIT $1
"""

# What a batch has beside its job's row.
BATCHES: Final = """
SELECT job.id, job.input, b.lines, b.expires_at AS window_ends_at, b.in_progress_at, b.closing, b.closing_at,
    b.finalizing_at
FROM job LEFT JOIN batch b ON b.job_id = job.id WHERE job.id = ANY($1::uuid[])
"""

# A page of a batch's lines in a state, in the order of the input. Rows are compared, and ordered by all columns, so
# that only the index `job_children` will do: a plan from when the table was small might read all jobs after an id.
_PAGE: Final = """
parent IS NOT NULL AND (parent, state, id) > ($1, $2, $3) AND (parent, state) <= ($1, $2)
ORDER BY parent, state, id LIMIT $4"""

# The lines of a batch that ended in a state, in the order of the input, a page at a time.
ENDS: Final = f"""
SELECT id, key AS custom_id, kind, state, result, error, created_at, finished_at FROM job WHERE {_PAGE}
"""

# The same for the lines of an earlier batch that are to be done again.
UNDONE: Final = f"""
SELECT id, key, kind, input, max_attempts, timeout_s FROM job WHERE tenant = $5 AND {_PAGE}
"""

# How many lines of a batch are in each state.
COUNTS: Final = "SELECT state, count(*) AS lines FROM job WHERE parent = $1 AND tenant = $2 GROUP BY state"


async def begin(connection: "Connection", job_id: UUID, lines: int, window_s: float) -> bool:
    """Keep the window of a batch that is about to make its lines' jobs; False when it has ended."""
    return bool(await connection.fetchval(BEGIN, job_id, lines, window_s, WARNED_WITH))


async def finalize(connection: "Connection", job_id: UUID) -> str | None:
    """Note that a batch's files are written; why it was closed, if it was."""
    closing: str | None = await connection.fetchval(FINALIZE, job_id)
    return closing


async def close(connection: "Connection", job_id: UUID, tenant: str) -> bool:
    """Cancel a batch whose lines are being done; False for one in another phase."""
    return bool(await connection.fetchval(CLOSE, job_id, tenant))


async def close_due(connection: "Connection", limit: int) -> int:
    """Warn of windows that are nearly over, and close batches whose window is; how many."""
    return int(await connection.fetchval(CLOSE_DUE, limit))


async def closing(connection: "Connection", limit: int) -> list[UUID]:
    """Batches that are being closed and wait for lines, the first one first."""
    return [row["job_id"] for row in await connection.fetch(CLOSING, limit)]


async def batches(connection: "Connection", ids: "Sequence[UUID]") -> dict[UUID, asyncpg.Record]:
    """What these jobs have as batches, `input` as JSON; columns of the batch are null until its lines are begun."""
    return {row["id"]: row for row in await connection.fetch(BATCHES, list(ids))}


async def ends(connection: "Connection", job_id: UUID, state: str, after: UUID, limit: int) -> list[asyncpg.Record]:
    """A page of a batch's lines that ended in a state."""
    return await connection.fetch(ENDS, job_id, state, after, limit)


async def undone(
    connection: "Connection", job_id: UUID, tenant: str, state: str, after: UUID, limit: int
) -> list[asyncpg.Record]:
    """A page of a batch's lines in a state, as they are to be done again."""
    return await connection.fetch(UNDONE, job_id, state, after, limit, tenant)


async def counts(connection: "Connection", job_id: UUID, tenant: str) -> dict[str, int]:
    """How many lines of a tenant's batch are in each state."""
    return {row["state"]: row["lines"] for row in await connection.fetch(COUNTS, job_id, tenant)}
