"""What goes to the experiment tracker: said by workers under their fence, sent by one process at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import orjson

from schemas.lifecycle import JobState

if TYPE_CHECKING:
    from infra.postgres.database import Connection

SENDER_LOCK: Final = 0x57454C4954  # "WELIT": the advisory lock of the one process that sends

# The fence. The lock keeps the job from ending before what it says is committed: the run of an ended job is whole.
HELD: Final = "SELECT id FROM job WHERE id = $1 AND epoch = $2 AND worker = $3 AND state = 'running' FOR SHARE"

# Begin a run; one that was begun stays as it is.
BEGIN: Final = f"""
WITH held AS ({HELD}), made AS (
    INSERT INTO tracked_run (id, job_id, parent, experiment, name, tags, params)
    SELECT $4::uuid, id, $5::uuid, $6::text, $7::text, $8::json, $9::json FROM held ON CONFLICT (id) DO NOTHING
)
SELECT EXISTS (SELECT FROM held)
"""

WAITS: Final = "sent_at IS NULL AND error IS NULL"

# Add an entry to a run, while fewer than $7 wait in all. One of that key stays, unless it is another one and $8 says
# that it is to be replaced. A run that MLflow refused takes none: they would wait for ever.
ADD: Final = f"""
WITH held AS ({HELD}), room AS (
    SELECT count(*) < $7 AS there FROM (SELECT FROM tracked_entry WHERE {WAITS} LIMIT $7) waiting
), made AS (
    INSERT INTO tracked_entry (run_id, key, data)
    SELECT r.id, $5::text, $6::json FROM held, room, tracked_run r
    WHERE room.there AND r.id = $4::uuid AND r.closed_at IS NULL
    ON CONFLICT (run_id, key) DO UPDATE SET data = excluded.data, sent_at = NULL, error = NULL
        WHERE $8 AND tracked_entry.data::text <> excluded.data::text
)
SELECT EXISTS (SELECT FROM held) AS ours, there FROM room
"""

# Runs for which something is to be sent: that they begin, what they are told, or that their job has ended.
_DUE: Final = f"""
r.closed_at IS NULL AND (r.mlflow_id IS NULL OR j.state IN ('succeeded', 'failed', 'cancelled')
    OR EXISTS (SELECT FROM tracked_entry WHERE run_id = r.id AND {WAITS}))
"""
_RUN: Final = """
SELECT r.id, r.parent, r.experiment, r.name, r.tags, r.params, r.mlflow_id, j.id AS job_id, j.tenant,
       j.state, coalesce(j.started_at, r.created_at) AS started_at, j.finished_at
FROM tracked_run r JOIN job j ON j.id = r.job_id
"""
DUE: Final = f"{_RUN} WHERE {_DUE} ORDER BY r.created_at LIMIT $1"
ANYTHING: Final = f"SELECT EXISTS (SELECT FROM tracked_run r JOIN job j ON j.id = r.job_id WHERE {_DUE})"
RUN: Final = f"{_RUN} WHERE r.id = $1"

# The oldest entries of a run that wait.
ENTRIES: Final = f"SELECT id, data, created_at FROM tracked_entry WHERE run_id = $1 AND {WAITS} ORDER BY id LIMIT $2"

# MLflow has begun a run. If two processes began it, the first one's stays.
BEGUN: Final = "UPDATE tracked_run SET mlflow_id = coalesce(mlflow_id, $2) WHERE id = $1 RETURNING mlflow_id"

# MLflow has an entry, or refuses it. One that was replaced meanwhile is sent again.
SENT: Final = "UPDATE tracked_entry SET sent_at = now() WHERE id = $1 AND data::text = $2::text"
REFUSED: Final = "UPDATE tracked_entry SET error = $3 WHERE id = $1 AND data::text = $2::text"

# MLflow knows all of a run whose job has ended. What it refused stays, to be seen.
CLOSE: Final = """
WITH closed AS (UPDATE tracked_run SET closed_at = now() WHERE id = $1 RETURNING id)
DELETE FROM tracked_entry USING closed WHERE run_id = closed.id AND error IS NULL
"""

# MLflow refuses a run, and so everything that it was to be told.
REFUSE_RUN: Final = f"""
WITH closed AS (UPDATE tracked_run SET closed_at = now(), error = $2 WHERE id = $1 RETURNING id)
UPDATE tracked_entry SET error = $2 FROM closed WHERE run_id = closed.id AND {WAITS}
"""

# How many entries wait, and how many were refused.
DEPTH: Final = f"""
SELECT (SELECT count(*) FROM tracked_entry WHERE {WAITS}) AS waiting,
       (SELECT count(*) FROM tracked_entry WHERE error IS NOT NULL)
           + (SELECT count(*) FROM tracked_run WHERE error IS NOT NULL) AS refused
"""


class Said(NamedTuple):
    """`ours`: the worker held the job. `room`: fewer entries waited than may."""

    ours: bool
    room: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A run to be sent, and how its job is. `mlflow_id`: None until MLflow has begun it."""

    id: UUID
    parent: UUID | None
    experiment: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    mlflow_id: str | None
    started_at: datetime
    job_id: UUID
    tenant: str
    state: JobState
    finished_at: datetime | None


class Entry(NamedTuple):
    """Metrics or a file of a run. `data`: a JSON text."""

    id: int
    data: str
    created_at: datetime


async def begin(
    connection: "Connection",
    fence: tuple[UUID, int, str],
    id: UUID,
    parent: UUID | None,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, str],
) -> bool:
    """Begin a run of the job in `fence` (its id, its epoch, the worker); False when the worker does not hold it."""
    texts = [orjson.dumps(dict(pairs)).decode() for pairs in (tags, params)]
    return bool(await connection.fetchval(BEGIN, *fence, id, parent, experiment, name, *texts))


async def add(
    connection: "Connection", fence: tuple[UUID, int, str], run: UUID, key: str, data: Any, most: int, *, replace: bool
) -> Said:
    """Add an entry to a run of the job, if fewer than `most` wait in all."""
    row = await connection.fetchrow(ADD, *fence, run, key, orjson.dumps(data).decode(), most, replace)
    assert row is not None
    return Said(row["ours"], row["there"])


async def try_to_lead(connection: "Connection") -> bool:
    """Whether this session now is the one that sends; until `step_down`, or until it ends."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", SENDER_LOCK))


async def step_down(connection: "Connection") -> None:
    """Let another session send."""
    await connection.execute("SELECT pg_advisory_unlock($1)", SENDER_LOCK)


async def anything(connection: "Connection") -> bool:
    """Whether something is to be sent."""
    return bool(await connection.fetchval(ANYTHING))


async def due(connection: "Connection", limit: int) -> list[Run]:
    """Runs for which something is to be sent, the oldest first."""
    return [_run(row) for row in await connection.fetch(DUE, limit)]


async def run(connection: "Connection", id: UUID) -> Run | None:
    """A run, whether or not something is to be sent for it."""
    row = await connection.fetchrow(RUN, id)
    return None if row is None else _run(row)


async def entries(connection: "Connection", run: UUID, limit: int) -> list[Entry]:
    """The oldest entries of a run that wait."""
    return [Entry(*row.values()) for row in await connection.fetch(ENTRIES, run, limit)]


async def begun(connection: "Connection", run: UUID, mlflow_id: str) -> str | None:
    """Note MLflow's id of a run; returns the one that holds. None when the run was removed with its job."""
    found: str | None = await connection.fetchval(BEGUN, run, mlflow_id)
    return found


async def sent(connection: "Connection", entry: Entry) -> None:
    """Note that MLflow has an entry."""
    await connection.execute(SENT, entry.id, entry.data)


async def refused(connection: "Connection", entry: Entry, why: str) -> None:
    """Note that MLflow refuses an entry."""
    await connection.execute(REFUSED, entry.id, entry.data, why)


async def close(connection: "Connection", run: UUID) -> None:
    """Note that MLflow knows all of a run."""
    await connection.execute(CLOSE, run)


async def refuse_run(connection: "Connection", run: UUID, why: str) -> None:
    """Note that MLflow refuses a run."""
    await connection.execute(REFUSE_RUN, run, why)


async def depth(connection: "Connection") -> dict[str, int]:
    """Entries by `waiting` and `refused`."""
    row = await connection.fetchrow(DEPTH)
    assert row is not None
    return dict(row)


def _run(row: Any) -> Run:
    told = {"tags": orjson.loads(row["tags"]), "params": orjson.loads(row["params"]), "state": JobState(row["state"])}
    return Run(**{**row, **told})
