"""Workers die: their jobs get their attempts back, and the one that kills its workers is told from its neighbours."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from infra.postgres.queries.claim import ATTENDANCE
from infra.postgres.queries.ended import FOLLOWS, SWEPT_AFTER, SWEPT_AGAIN_AFTER
from schemas.kinds.kind import DEFAULT_BACKOFF
from schemas.kinds.registry import backoffs

if TYPE_CHECKING:
    from infra.postgres.database import Connection

SUSPECTED: Final = 2
"""A suspect has so much suspicion: 1 for each of its first two deaths that count. A first death is nobody's fault yet.

From then on a death adds 2 if it was the only suspect there and no other job was under suspicion, 1 if one was, and
nothing beside another suspect. So one new killer beside an innocent suspect brings that one to 5 at most, before it is
a suspect itself.
"""
CROWD: Final = 3
"""When so many workers die at once, something from outside killed them: a node, a deployment, a switch."""
SUSPECTS_WAIT_S: Final = 5
"""So much later than the others a suspect is retried."""
APART_S: Final = 3
"""So much later than another suspect of the same worker: more than a sweep, so that no worker claims the two at once.
Together, a killer would take the other with it again and again, and nothing would tell the two apart.
"""
AT_MOST_S: Final = 30
"""So much later at most, however many suspects there were."""
EXCUSED: Final = 4
"""So many deaths of a stage are excused for the crowd; more are not, or many killers at once would stay hidden."""

# With the condition of the index of jobs that saw deaths.
SUSPECT: Final = f"deaths > 1 AND state IN ('queued', 'running', 'retry_wait') AND suspicion >= {SUSPECTED}"

# A running job that is past the point at which its worker died before. Every heartbeat renews the lease, so the end of
# the lease tells to a second when the worker was last alive, however late its death was noticed.
OUTRAN: Final = "coalesce(lease_until - claimed_at > died_after + interval '3 s', false)"

# Workers that hold jobs and have no session: their lock can be had.
ABSENT: Final = """
WITH holding AS MATERIALIZED (
    SELECT DISTINCT worker FROM job WHERE state = 'running' AND lease_until IS NOT NULL
)
SELECT worker FROM holding WHERE pg_try_advisory_xact_lock($1, hashtext(worker))
"""

# The worker has no session ($7) or its leases ran out. Those of one worker end within a heartbeat of each other, and
# all that it ran must be seen together: while one is about to end the others wait for it.
#
# The attempt is given back: a death is not a job's own failure until the job is known for the killer. $8 is false after
# an outage of Postgres: nobody died. Workers that died in a crowd ($10, or so many whose leases ended) speak against
# nobody. A job that ran longer this time than it had at its last death did not cause that one: only this death counts.
# A job of one attempt fails: its owner wants no second one.
#
# Backoff is exponential with full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/),
# as its kind has it, or else $5 to $6 seconds. It grows only when deaths go on and no killer is found. Suspects come
# last, and one after the other: short jobs that died with one have ended by then, and leave it alone with what it does.
# epoch + 1 at the next claim fences the old worker off if it is alive after all. Nobody will name what it wrote in this
# epoch.
END_LEASES: Final = f"""
WITH lost AS (
    SELECT id, worker, deaths, suspicion, max_attempts, cancel_requested, {OUTRAN} AS outran,
           coalesce(known.first_s, $5) AS first_s, coalesce(known.longest_s, $6) AS longest_s
    FROM job LEFT JOIN unnest($2::text[], $3::float8[], $4::float8[]) AS known(kind, first_s, longest_s) USING (kind)
    WHERE state = 'running' AND lease_until IS NOT NULL AND (worker = ANY($7::text[]) OR lease_until < now()
        AND NOT EXISTS (
            SELECT FROM job beside
            WHERE beside.worker = job.worker AND beside.state = 'running'
                AND beside.lease_until BETWEEN now() AND now() + interval '2 s'))
    ORDER BY lease_until LIMIT $1 FOR UPDATE OF job SKIP LOCKED
), silent AS (
    SELECT count(DISTINCT worker) >= {CROWD} AS crowd FROM lost WHERE worker <> ALL($7::text[])
), beside AS (
    SELECT lost.*,
           NOT $8 OR deaths < {EXCUSED}
               AND (worker = ANY($10::text[]) OR worker <> ALL($7::text[]) AND silent.crowd) AS excused,
           count(*) FILTER (WHERE suspicion > 0 AND NOT outran) OVER process AS suspected,
           count(*) FILTER (WHERE suspicion >= {SUSPECTED} AND NOT outran) OVER process AS suspects
    FROM lost CROSS JOIN silent WINDOW process AS (PARTITION BY worker)
), judged AS (
    SELECT *, CASE WHEN excused THEN suspicion
                   WHEN outran THEN CASE WHEN suspicion > {SUSPECTED} THEN suspicion ELSE 1 END
                   WHEN suspicion < {SUSPECTED} THEN suspicion + 1
                   WHEN suspects > 1 THEN suspicion
                   WHEN suspected > 1 THEN suspicion + 1
                   ELSE suspicion + 2 END AS proof
    FROM beside
), fated AS (
    SELECT *, row_number() OVER (PARTITION BY worker, proof >= {SUSPECTED} ORDER BY random()) - 1 AS before,
              CASE WHEN cancel_requested THEN 'cancelled'
                   WHEN proof >= $9 OR max_attempts = 1 THEN 'failed'
                   ELSE 'retry_wait' END AS fate,
           CASE WHEN cancel_requested THEN NULL
                WHEN proof >= $9 THEN 'worker_killed'
                ELSE 'lease_expired' END AS code
    FROM judged
), moved AS (
    UPDATE job SET
        state = fate,
        attempt = CASE WHEN fate = 'retry_wait' THEN attempt - 1 ELSE attempt END,
        error = CASE code
            WHEN 'worker_killed' THEN json_build_object('code', code, 'message',
                'its stage kills workers: several died while no other suspect ran there', 'retryable', false)
            WHEN 'lease_expired' THEN json_build_object('code', code, 'message', CASE fate
                WHEN 'failed' THEN 'the worker stopped answering in attempt ' || attempt || ' of ' || job.max_attempts
                ELSE 'the worker stopped answering; the attempt is not counted' END, 'retryable', true) END,
        deaths = job.deaths + $8::int,
        suspicion = proof,
        died_after = CASE WHEN excused THEN died_after ELSE lease_until - claimed_at END,
        due_at = now() + make_interval(secs => random() * least(
            fated.longest_s, fated.first_s * power(2, least(greatest(fated.deaths - {EXCUSED}, 0), 20)))
            + CASE WHEN proof >= {SUSPECTED} THEN {SUSPECTS_WAIT_S} + least({APART_S} * before, {AT_MOST_S})
                   ELSE 0 END),
        lease_until = NULL,
        worker = NULL,
        finished_at = CASE WHEN fate <> 'retry_wait' THEN clock_timestamp() END
    FROM fated WHERE job.id = fated.id
    RETURNING job.id, tenant, kind, stage, state, epoch, attempt, parent, webhook, error, code,
              state = 'failed' AS dead, fated.worker AS lost_by
), told AS (
    INSERT INTO job_event (job_id, type, data)
    SELECT id, 'state', json_build_object('state', state, 'stage', stage, 'attempt', attempt, 'error', error)
    FROM moved
), abandoned AS (
    INSERT INTO blob_garbage (blob, due_at, again_at)
    SELECT tenant || '/jobs/' || replace(id::text, '-', '') || '/' || epoch, now() + {SWEPT_AFTER},
           now() + {SWEPT_AGAIN_AFTER}
    FROM moved WHERE state = 'retry_wait'
    ON CONFLICT DO NOTHING
), {FOLLOWS}
SELECT id, kind, parent, state, code, lost_by FROM moved
"""


@dataclass(slots=True)
class Lost:
    """What a round took from workers. `parents`: of jobs that ended. `failed`: kind and code of each that failed."""

    jobs: int = 0
    workers: set[str] = field(default_factory=set)
    parents: set[UUID] = field(default_factory=set)
    failed: list[tuple[str, str]] = field(default_factory=list)
    killers: list[UUID] = field(default_factory=list)


async def absent(connection: "Connection") -> set[str]:
    """Workers that hold jobs, but have no session with Postgres at this moment."""
    return {row["worker"] for row in await connection.fetch(ABSENT, ATTENDANCE)}


async def end_leases(
    connection: "Connection",
    limit: int,
    *,
    proof: int,
    dead: Collection[str] = (),
    crowd: Collection[str] = (),
    charged: bool = True,
) -> Lost:
    """End the tries of `dead` workers and of those whose leases ran out; `charged`: these count as deaths.

    `proof`: the suspicion at which a job is taken for the killer. `crowd`: workers that died with many others.
    """
    known = backoffs()
    rows = await connection.fetch(
        END_LEASES,
        limit,
        list(known),
        [backoff.first.total_seconds() for backoff in known.values()],
        [backoff.longest.total_seconds() for backoff in known.values()],
        DEFAULT_BACKOFF.first.total_seconds(),
        DEFAULT_BACKOFF.longest.total_seconds(),
        list(dead),
        charged,
        proof,
        list(crowd),
    )
    lost = Lost(len(rows), {row["lost_by"] for row in rows})
    for row in rows:
        if row["state"] == "failed":
            lost.failed.append((row["kind"], row["code"]))
        if row["code"] == "worker_killed":
            lost.killers.append(row["id"])
        if row["parent"] is not None and row["state"] in ("failed", "cancelled"):
            lost.parents.add(row["parent"])
    return lost
