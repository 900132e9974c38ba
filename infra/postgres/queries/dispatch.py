"""Held bulk work is released: what waits, whose it is, and the messages of those whose turn it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from infra.postgres.database import Connection

DISPATCHER_LOCK: Final = 0x57454C4944  # "WELID": the advisory lock of the one dispatcher that releases

NO_PARENT: Final = UUID(int=0)

# One dispatcher at a time; held to the end of the caller's transaction. The commit does not wait for the disk: if a
# crash of Postgres undoes it, the jobs are held again, and messages that Kafka has already find nothing to claim.
LEAD: Final = "SELECT pg_try_advisory_xact_lock($1) FROM set_config('synchronous_commit', 'off', true)"

# For a transaction in which nothing may be released.
STOP: Final = "SELECT pg_advisory_xact_lock($1)"

# The columns and the condition of the index `job_bulk`, which must be written like this to be found in it. The first
# coalesce hides the condition from the index of all queued jobs, which the planner would take for as good: its
# statistics of a table full of finished jobs know no queued ones.
_SHARE: Final = (
    "kind, stage, coalesce(model, ''), tenant, coalesce(parent, '00000000-0000-0000-0000-000000000000'),"
    " coalesce(concurrency_key, '')"
)
_QUEUED: Final = "coalesce(state, '') = 'queued' AND lane = 'bulk'"
_FIRST: Final = f"""
SELECT kind, stage, coalesce(model, '') AS model, tenant,
    coalesce(parent, '00000000-0000-0000-0000-000000000000') AS parent, coalesce(concurrency_key, '') AS key
FROM job WHERE {_QUEUED}"""
_WHOSE: Final = "(whose.kind, whose.stage, whose.model, whose.tenant, whose.parent, whose.key)"
_ITS: Final = f"{_QUEUED} AND ({_SHARE}) = {_WHOSE}"

# Who has bulk work queued: every combination of stage, model, tenant, parent and key, found one after the other in the
# index without reading the jobs in between. Of each, how many jobs are summoned and not claimed yet, and how many are
# held: of these no more than $1 are counted. How many children run is counted only where a limit asks for it. The
# offset lets each parent be looked up: a join might read the whole table.
SHARES: Final = f"""
WITH RECURSIVE share AS (
    ({_FIRST} ORDER BY {_SHARE} LIMIT 1)
    UNION ALL
    SELECT one.* FROM share whose CROSS JOIN LATERAL (
        {_FIRST} AND ({_SHARE}) > {_WHOSE} ORDER BY {_SHARE} LIMIT 1
    ) one
)
SELECT whose.kind, whose.stage, whose.model, whose.tenant, whose.parent, whose.key,
    coalesce(p.paused_at IS NOT NULL, false) AS paused, coalesce(p.weight, 1) AS weight, p.at_once, p.deadline,
    (SELECT count(*) FROM job WHERE {_ITS} AND summoned_at IS NOT NULL) AS summoned,
    (SELECT count(*) FROM (SELECT FROM job WHERE {_ITS} AND summoned_at IS NULL LIMIT $1) few) AS held,
    CASE WHEN p.at_once IS NULL THEN 0
        ELSE (SELECT count(*) FROM job c WHERE c.parent = p.id AND c.state = 'running') END AS running
FROM share whose LEFT JOIN LATERAL (
    SELECT id, paused_at, weight, at_once, deadline FROM job WHERE id = whose.parent OFFSET 0
) p ON true
"""

# How many jobs of the lane workers hold, by tenant, model and key. Asked only where one of these is limited.
RUNNING: Final = """
SELECT tenant, coalesce(model, '') AS model, coalesce(concurrency_key, '') AS key, count(*) AS jobs FROM job
WHERE state = 'running' AND lease_until IS NOT NULL AND lane = 'bulk' GROUP BY 1, 2, 3
"""

# So many jobs of each share get their messages, the oldest first. Nobody is waited for: a row that someone else holds
# is being cancelled. `due_at` begins again, since the rescuer measures from it how long a message has gone unanswered.
# The order is that of the index `job_bulk`; by the id alone, it is also that of the tenant's jobs that have ended. The
# messages of a round alternate between the shares, or the oldest would go before all others.
RELEASE: Final = f"""
WITH wanted AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::int[])
        AS w(kind, stage, model, tenant, parent, key, jobs)
), chosen AS MATERIALIZED (
    SELECT held.id FROM wanted whose CROSS JOIN LATERAL (
        SELECT id FROM job WHERE {_ITS} AND summoned_at IS NULL ORDER BY summoned_at, id LIMIT whose.jobs
        FOR UPDATE SKIP LOCKED
    ) held
), released AS (
    UPDATE job SET summoned_at = now(), due_at = now() WHERE id = ANY(array(SELECT id FROM chosen))
    RETURNING id, kind, stage, lane, model, epoch, traceparent, tenant, parent
)
INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
SELECT id, kind, stage, lane, model, epoch, traceparent FROM released
ORDER BY row_number() OVER (PARTITION BY kind, stage, model, tenant, parent ORDER BY id), id RETURNING 1
"""


@dataclass(frozen=True, slots=True)
class Share:
    """The queued bulk work of one parent at one stage, or that of a tenant's jobs without a parent, with one key.

    `model` and `key` are empty, and `parent` is `NO_PARENT`, where there is none. `summoned` jobs wait for a worker,
    `held` ones for a message, of which not all are counted. `running`: the parent's running children, counted only
    where `at_once` limits them.
    """

    kind: str
    stage: str
    model: str
    tenant: str
    parent: UUID
    key: str
    paused: bool
    weight: int
    at_once: int | None
    deadline: datetime | None
    summoned: int
    held: int
    running: int


class Running(NamedTuple):
    """How many jobs of the lane bulk workers hold, of a tenant, with this model and this key; both may be empty."""

    tenant: str
    model: str
    key: str
    jobs: int


async def lead(connection: "Connection") -> bool:
    """Whether the caller's transaction is the one that may release now."""
    return bool(await connection.fetchval(LEAD, DISPATCHER_LOCK))


async def stop(connection: "Connection") -> None:
    """Wait for whoever releases, and let nobody do so until the caller's transaction ends."""
    await connection.execute(STOP, DISPATCHER_LOCK)


async def shares(connection: "Connection", most: int) -> list[Share]:
    """Everyone who has bulk work queued; of held jobs `most` are counted."""
    return [Share(*row) for row in await connection.fetch(SHARES, most)]


async def running(connection: "Connection") -> list[Running]:
    """How many jobs of the lane bulk workers hold, by tenant, model and key."""
    return [Running(*row) for row in await connection.fetch(RUNNING)]


async def release(connection: "Connection", wanted: Sequence[tuple[Share, int]]) -> int:
    """Summon workers to so many held jobs of each share; how many they were."""
    names = ("kind", "stage", "model", "tenant", "parent", "key")
    columns = [[getattr(share, name) for share, _ in wanted] for name in names]
    return len(await connection.fetch(RELEASE, *columns, [jobs for _, jobs in wanted]))
