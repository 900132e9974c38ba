"""Owners steer a job while it or its children run: pause and resume it, and say how many children run, and when."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson

from infra.postgres.queries import dispatch
from schemas.outcomes import UNTIL_RESUMED

if TYPE_CHECKING:
    from infra.postgres.database import Connection

_LIVE: Final = "id = $1 AND tenant = $2 AND state IN ('queued', 'running', 'retry_wait')"

# For a transaction in which nothing is released: held children stay held from its commit on. Children that wait for
# their first worker are taken back; messages that they have already find nothing to claim.
PAUSE: Final = f"""
WITH paused AS (
    UPDATE job SET paused_at = now() WHERE {_LIVE} AND paused_at IS NULL RETURNING id
), waiting AS (
    SELECT c.id FROM job c JOIN paused ON c.parent = paused.id
    WHERE c.state = 'queued' AND c.lane = 'bulk' AND c.summoned_at IS NOT NULL AND c.started_at IS NULL
    ORDER BY c.id FOR UPDATE OF c
), taken_back AS (
    UPDATE job SET summoned_at = NULL FROM waiting WHERE job.id = waiting.id
)
INSERT INTO job_event (job_id, type, data) SELECT id, 'paused', $3::json FROM paused
"""

# A job that left its worker because it was paused is due now. One that waits for another try goes on waiting.
RESUME: Final = f"""
WITH resumed AS (
    UPDATE job SET paused_at = NULL,
        due_at = CASE WHEN state = 'retry_wait' AND due_at > now() + make_interval(secs => $4::float8 / 2) THEN now()
                      ELSE due_at END
    WHERE {_LIVE} AND paused_at IS NOT NULL RETURNING id
)
INSERT INTO job_event (job_id, type, data) SELECT id, 'resumed', $3::json FROM resumed
"""

# Whether a job's owner has paused it.
PAUSED: Final = "SELECT paused_at IS NOT NULL FROM job WHERE id = $1"

# $4, $6, $8: whether the value after it is to be set.
STEER: Final = f"""
WITH steered AS (
    UPDATE job SET weight = CASE WHEN $4 THEN $5::int ELSE weight END,
        at_once = CASE WHEN $6 THEN $7::int ELSE at_once END,
        deadline = CASE WHEN $8 THEN $9::timestamptz ELSE deadline END
    WHERE {_LIVE} RETURNING id
)
INSERT INTO job_event (job_id, type, data) SELECT id, 'steered', $3::json FROM steered
"""


async def pause(connection: "Connection", job_id: UUID, tenant: str, told: Mapping[str, Any]) -> None:
    """Pause a live job and hold back its children; in the caller's transaction. `told`: the event's data."""
    await dispatch.stop(connection)
    await connection.execute(PAUSE, job_id, tenant, orjson.dumps(told).decode())


async def resume(connection: "Connection", job_id: UUID, tenant: str, told: Mapping[str, Any]) -> None:
    """Let a paused job and its children go on. `told`: the event's data."""
    await connection.execute(RESUME, job_id, tenant, orjson.dumps(told).decode(), UNTIL_RESUMED.total_seconds())


async def is_paused(connection: "Connection", job_id: UUID) -> bool:
    """Whether the job's owner has paused it."""
    return bool(await connection.fetchval(PAUSED, job_id))


async def steer(
    connection: "Connection", job_id: UUID, tenant: str, given: Mapping[str, Any], told: Mapping[str, Any]
) -> None:
    """Set those of `weight`, `at_once` and `deadline` that are given, of a live job. `told`: the event's data."""
    settings = [x for name in ("weight", "at_once", "deadline") for x in (name in given, given.get(name))]
    await connection.execute(STEER, job_id, tenant, orjson.dumps(told).decode(), *settings)
