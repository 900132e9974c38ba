"""What MLflow refused, for those who run the deployment: listed, sent again, or dropped."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Runs and entries that were refused, the latest job's first. Entries of a refused run are told by their run.
LIST: Final = """
SELECT r.job_id, j.tenant, r.experiment, r.name AS run, refused.what, refused.error, refused.said_at
FROM tracked_run r JOIN job j ON j.id = r.job_id CROSS JOIN LATERAL (
    SELECT 'run' AS what, r.error, r.created_at AS said_at, 0::bigint AS number WHERE r.error IS NOT NULL
    UNION ALL
    SELECT e.key, e.error, e.created_at, e.id FROM tracked_entry e
    WHERE e.run_id = r.id AND e.error IS NOT NULL AND r.error IS NULL
) refused
ORDER BY r.job_id DESC, r.created_at, r.id, refused.number LIMIT $1
"""

_OF_JOBS: Final = "($1::uuid[] IS NULL OR r.job_id = ANY($1))"

# What was refused waits again, and the runs it belongs to are open again. The jobs it belongs to.
RETRY: Final = f"""
WITH entry AS (
    UPDATE tracked_entry e SET error = NULL FROM tracked_run r
    WHERE e.run_id = r.id AND e.error IS NOT NULL AND {_OF_JOBS} RETURNING e.run_id
)
UPDATE tracked_run r SET error = NULL, closed_at = NULL
WHERE {_OF_JOBS} AND (r.error IS NOT NULL OR r.id IN (SELECT run_id FROM entry)) RETURNING r.job_id
"""

# What was refused is forgotten. A refused run stays closed: its job, if it still runs, goes on without it.
DROP: Final = f"""
WITH entry AS (
    DELETE FROM tracked_entry e USING tracked_run r
    WHERE e.run_id = r.id AND e.error IS NOT NULL AND {_OF_JOBS} RETURNING r.job_id
), run AS (
    UPDATE tracked_run r SET error = NULL WHERE r.error IS NOT NULL AND {_OF_JOBS} RETURNING r.job_id
)
SELECT job_id FROM entry UNION SELECT job_id FROM run
"""


async def refused(connection: "Connection", limit: int) -> list[asyncpg.Record]:
    """`job_id`, `tenant`, `experiment`, `run`, `what` (`run`, or the key of an entry), `error` and `said_at`."""
    return await connection.fetch(LIST, limit)


async def retry(connection: "Connection", jobs: Sequence[UUID] | None) -> set[UUID]:
    """Have what was refused of these jobs, or of all, sent again; the jobs of which something was."""
    return {row["job_id"] for row in await connection.fetch(RETRY, jobs)}


async def drop(connection: "Connection", jobs: Sequence[UUID] | None) -> set[UUID]:
    """Forget what was refused of these jobs, or of all; the jobs of which something was."""
    return {row["job_id"] for row in await connection.fetch(DROP, jobs)}
