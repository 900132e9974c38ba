"""Owners cancel jobs: one statement cancels a whole tree."""

from typing import TYPE_CHECKING, Final
from uuid import UUID

from infra.postgres.queries.ended import FOLLOWS

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Behind a CTE `held` of locked jobs. Those without a worker end at once. Running ones are marked, and their worker
# learns of it at its next heartbeat.
_CANCELLED: Final = f"""
moved AS (
    UPDATE job SET
        cancel_requested = true,
        state = CASE WHEN state = 'running' AND NOT waiting THEN state ELSE 'cancelled' END,
        waiting = false,
        finished_at = CASE WHEN state = 'running' AND NOT waiting THEN NULL ELSE clock_timestamp() END
    FROM held WHERE job.id = held.id
    RETURNING job.id, tenant, kind, stage, state, epoch, parent, webhook, error, NULL AS code, false AS dead
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'state', json_build_object('state', state, 'stage', stage) FROM moved WHERE state = 'cancelled'
), {FOLLOWS}
"""

# The root must be the tenant's and, in the first pass ($3 false), live. A later pass takes what is not marked yet:
# children of a fan-out that committed while the previous pass waited for the parent's row, and so were not in its
# snapshot.
CANCEL: Final = f"""
WITH RECURSIVE tree AS (
    SELECT id FROM job WHERE id = $1 AND tenant = $2 AND ($3 OR state IN ('queued', 'running', 'retry_wait'))
    UNION ALL
    SELECT c.id FROM job c JOIN tree ON c.parent = tree.id
), held AS (
    SELECT id FROM job WHERE id IN (SELECT id FROM tree) AND state IN ('queued', 'running', 'retry_wait')
        AND NOT ($3 AND cancel_requested)
    ORDER BY id FOR UPDATE
), {_CANCELLED}
SELECT id, state, parent FROM moved
"""

# Some of a parent's live children, with everything below them, but not the parent.
CANCEL_CHILDREN: Final = f"""
WITH RECURSIVE chosen AS (
    SELECT id FROM job
    WHERE parent = $1 AND state IN ('queued', 'running', 'retry_wait') AND NOT cancel_requested ORDER BY id LIMIT $2
), tree AS (
    SELECT id FROM chosen
    UNION ALL
    SELECT c.id FROM job c JOIN tree ON c.parent = tree.id
), held AS (
    SELECT id FROM job
    WHERE id IN (SELECT id FROM tree) AND state IN ('queued', 'running', 'retry_wait') AND NOT cancel_requested
    ORDER BY id FOR UPDATE
), {_CANCELLED}
SELECT count(*) FROM moved
"""


async def cancel(connection: "Connection", job_id: UUID, tenant: str) -> tuple[bool, set[UUID]]:
    """Whether the job was live, and the parents (outside the tree too) that may now continue."""
    rows = await connection.fetch(CANCEL, job_id, tenant, False)
    more = rows
    while more:
        more = await connection.fetch(CANCEL, job_id, tenant, True)
        rows += more
    touched = {row["id"] for row in rows}
    parents = {row["parent"] for row in rows if row["parent"] is not None and row["state"] == "cancelled"}
    return bool(rows), parents - touched


async def cancel_children(connection: "Connection", parent: UUID, limit: int) -> int:
    """Cancel up to `limit` live children of a job that goes on; how many jobs that were, those below them included."""
    return int(await connection.fetchval(CANCEL_CHILDREN, parent, limit))
