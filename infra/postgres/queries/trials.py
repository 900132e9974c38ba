"""Trials of searches: the held-out losses that they measured so far."""

from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# The loss of a step. What is trained again after a restart gives the same one; others may have been compared with the
# first.
KEEP: Final = "INSERT INTO trial_evaluation (job_id, step, loss) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

_TRIALS: Final = """
SELECT job.id, job.key, job.state, e.step, e.loss, e.at FROM job LEFT JOIN trial_evaluation e ON e.job_id = job.id
WHERE job.parent = {search} ORDER BY job.id, e.step
"""

# The trials of a search with their losses, one row each; a trial without one is a row, too.
OF: Final = _TRIALS.format(search="$1")

# The same for the search that a trial belongs to.
BESIDE: Final = _TRIALS.format(search="(SELECT parent FROM job WHERE id = $1)")


async def keep(connection: "Connection", job_id: UUID, step: int, loss: float) -> None:
    """Keep the first loss of a trial's step."""
    await connection.execute(KEEP, job_id, step, loss)


async def of(connection: "Connection", search: UUID) -> list[asyncpg.Record]:
    """`id, key, state, step, loss, at` of all trials of a search, in the order they were made; of each by step."""
    return await connection.fetch(OF, search)


async def beside(connection: "Connection", trial: UUID) -> list[asyncpg.Record]:
    """The same for the search that a trial belongs to."""
    return await connection.fetch(BESIDE, trial)
