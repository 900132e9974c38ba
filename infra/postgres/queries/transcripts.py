"""Stages write texts that their owners read at the same time: one statement for all of a worker's stages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Pieces of text become events of their jobs, fenced like every write of a worker. Like every statement that writes
# events, it locks the job's row before it draws an id. So a job's events become visible in the order of their ids, and
# a reader that continues after the highest id it saw misses none. Rows are locked in id order, as completions do.
TELL: Final = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::json[]) WITH ORDINALITY AS g(id, epoch, type, data, n)
), tries AS (
    SELECT DISTINCT id, epoch FROM given
), held AS (
    SELECT job.id, job.epoch, job.cancel_requested FROM job JOIN tries t ON t.id = job.id AND t.epoch = job.epoch
    WHERE job.id = ANY($1) AND job.state = 'running' AND job.worker = $5 AND NOT job.waiting
    ORDER BY job.id FOR NO KEY UPDATE OF job
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT g.id, g.type, g.data FROM given g JOIN held ON held.id = g.id AND held.epoch = g.epoch ORDER BY g.n
)
SELECT id, epoch, cancel_requested FROM held
"""


@dataclass(frozen=True, slots=True)
class Written:
    """An event of a text that a try is writing. `data` is a JSON text."""

    id: UUID
    epoch: int
    type: str
    data: str


async def tell(connection: "Connection", written: Sequence[Written], *, worker: str) -> dict[tuple[UUID, int], bool]:
    """Record events, in order. Returns the `(id, epoch)` that the worker still holds, with whether to cancel each.

    Events of jobs that it no longer holds are dropped.
    """
    rows = await connection.fetch(
        TELL,
        [event.id for event in written],
        [event.epoch for event in written],
        [event.type for event in written],
        [event.data for event in written],
        worker,
    )
    return {(row["id"], row["epoch"]): row["cancel_requested"] for row in rows}
