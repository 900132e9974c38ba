"""Aliases of models: what they mean now, the ledger of their steps, and the jobs that named one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from infra.postgres.queries.columns import Json, names
from schemas.aliases import MOST, Action, Alias

if TYPE_CHECKING:
    from infra.postgres.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A new entry of the ledger: a field is a column of its row. `event`: what receivers are told, if anything."""

    tenant: str
    alias: str
    action: Action
    model: str | None
    previous: str | None
    canary: str | None = None
    share: float | None = None
    by: str
    reason: str | None = None
    forced: bool = False
    evaluation: str | None = None
    evidence: Json | None = None
    job: UUID | None = None


COLUMNS: Final = ", ".join(names(Alias))
ENTRY: Final = ", ".join(["id", *names(Step), "created_at"])

ALIASES: Final = f"SELECT {COLUMNS} FROM model_alias WHERE tenant = $1 ORDER BY name"
ALIAS: Final = f"SELECT {COLUMNS} FROM model_alias WHERE tenant = $1 AND name = $2"

# Its row, kept from other steps until the end of the caller's transaction.
HOLD: Final = f"{ALIAS} FOR UPDATE"

# One tenant's new aliases wait for each other until the end of the caller's transaction: they are counted.
ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended('aliases of ' || $1, 0))"

# No row: there is one of this name, or there are too many.
MAKE: Final = f"""
INSERT INTO model_alias (tenant, name, model)
SELECT $1::text, $2::text, $3::text WHERE (SELECT count(*) FROM model_alias WHERE tenant = $1) < {MOST}
ON CONFLICT DO NOTHING RETURNING {COLUMNS}
"""

# Points an alias elsewhere, with or without a canary. Jobs that wait are looked through from then on.
POINT: Final = f"""
UPDATE model_alias SET model = $3, canary_model = $4, canary_share = $5, canary_looks = 0,
    canary_since = CASE WHEN $4::text IS NULL THEN NULL ELSE now() END, changed_at = now(), settled = false
WHERE tenant = $1 AND name = $2 RETURNING {COLUMNS}
"""
REMOVE: Final = "DELETE FROM model_alias WHERE tenant = $1 AND name = $2"

# Writes a step into the ledger, and a delivery for each endpoint that wants to know of it.
NOTE: Final = f"""
WITH noted AS (
    INSERT INTO model_promotion ({", ".join(names(Step))})
    VALUES ({", ".join(f"${n}" for n in range(1, len(names(Step)) + 1))})
    RETURNING {ENTRY}
), told AS (
    INSERT INTO webhook_delivery (tenant, endpoint, destination, type, data)
    SELECT e.tenant, e.id, e.id::text, 'model.' || noted.action, json_build_object('alias', noted.alias,
        'model', noted.model, 'previous', noted.previous, 'canary', noted.canary, 'by', noted.by,
        'reason', noted.reason)
    FROM noted JOIN webhook_endpoint e ON e.tenant = noted.tenant
        AND e.disabled_at IS NULL AND 'model.' || noted.action = ANY(e.events)
)
SELECT {ENTRY} FROM noted
"""

# A page of the ledger of an alias, newest first.
LEDGER: Final = f"""
SELECT {ENTRY} FROM model_promotion WHERE tenant = $1 AND alias = $2 AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC LIMIT $4
"""
BY_JOB: Final = f"SELECT {ENTRY} FROM model_promotion WHERE job = $1"

# The promotion that made this model the champion: the model before it is where a rollback leads.
PROMOTED: Final = f"""
SELECT {ENTRY} FROM model_promotion WHERE tenant = $1 AND alias = $2 AND model = $3 AND action = '{Action.PROMOTED}'
ORDER BY id DESC LIMIT 1
"""

# The aliases that point to a version of an adapter, or to any of its versions where $3 is null.
POINTING: Final = """
SELECT name FROM model_alias
WHERE tenant = $1 AND EXISTS (
    SELECT FROM unnest(ARRAY[model, canary_model]) AS one(model)
    WHERE CASE WHEN $3::text IS NULL THEN split_part(one.model, '@', 1) = $2 ELSE one.model = $3 END)
ORDER BY name
"""

# Aliases of all tenants that need attention: jobs may wait for what they meant before, or a canary is on trial.
TENDED: Final = f"SELECT {COLUMNS}, settled FROM model_alias WHERE NOT settled OR canary_model IS NOT NULL"

# A page of the jobs that wait, with no try of their stage begun, for a model that their alias no longer means.
OUTDATED: Final = """
SELECT id, kind, input FROM job
WHERE tenant = $1 AND alias = $2 AND state = 'queued' AND attempt = 0
    AND alias_model <> $3 AND alias_model IS DISTINCT FROM $4 AND id > $5
ORDER BY id LIMIT $6 FOR UPDATE SKIP LOCKED
"""

# Sends them to another model. The epoch grows, so that the message on the old model's topic is stale. One that has no
# message yet gets none here either.
MOVE: Final = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::json[]) AS g(id, input)
), moved AS (
    UPDATE job SET model = $3, alias_model = $4, input = given.input, epoch = epoch + 1,
        summoned_at = CASE WHEN summoned_at IS NOT NULL THEN now() END
    FROM given WHERE job.id = given.id
    RETURNING job.id, kind, stage, lane, model, epoch, traceparent, summoned_at
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
    SELECT id, kind, stage, lane, model, epoch, traceparent FROM moved WHERE summoned_at IS NOT NULL
)
SELECT id FROM moved
"""

# Nothing was found to move, and whoever read the alias before it changed has submitted by now.
SETTLE: Final = """
UPDATE model_alias SET settled = true
WHERE tenant = $1 AND name = $2 AND changed_at = $3 AND changed_at < now() - make_interval(secs => $4)
"""

# Whether the canary has so many jobs that ended.
ENOUGH: Final = """
SELECT count(*) FROM (
    SELECT FROM job WHERE tenant = $1 AND alias = $2 AND created_at >= $3 AND alias_model = $4
        AND state IN ('succeeded', 'failed') LIMIT $5) AS ended
"""

# How the newest jobs of one model ended since the canary began, and the seconds from their first claim to their end.
ENDED: Final = """
SELECT state = 'failed' AS failed, extract(epoch FROM finished_at - started_at)::float8 AS seconds FROM job
WHERE tenant = $1 AND alias = $2 AND created_at >= $3 AND alias_model = $4 AND state IN ('succeeded', 'failed')
ORDER BY created_at DESC LIMIT $5
"""

# Takes the next look at a canary; no row when another process took it, or the alias changed.
LOOK: Final = """
UPDATE model_alias SET canary_looks = canary_looks + 1
WHERE tenant = $1 AND name = $2 AND changed_at = $3 AND canary_looks = $4 RETURNING 1
"""

# Evaluations of a tenant that succeeded, newest first: those submitted, and those that promotions made.
EVALUATIONS: Final = """
SELECT id, input, result, finished_at FROM (
    (SELECT id, input, result, finished_at FROM job
     WHERE tenant = $1 AND kind = 'evaluation' AND state = 'succeeded' AND parent IS NULL ORDER BY id DESC LIMIT $2)
    UNION ALL
    (SELECT child.id, child.input, child.result, child.finished_at FROM (
        SELECT id FROM job WHERE tenant = $1 AND kind = 'promotion' AND state = ANY(ARRAY['succeeded', 'failed'])
            AND parent IS NULL ORDER BY id DESC LIMIT $2) AS promotion
     JOIN job child ON child.parent = promotion.id AND child.kind = 'evaluation' AND child.state = 'succeeded')
) AS found ORDER BY id DESC LIMIT $2
"""

# One evaluation, whatever became of it; also one that is a promotion's child.
EVALUATION: Final = """
SELECT id, kind, state, input, result, finished_at, finished_at > now() - $3::interval AS fresh FROM job
WHERE id = $1 AND tenant = $2
"""


async def aliases(connection: "Connection", tenant: str) -> list[Alias]:
    """A tenant's aliases, by name."""
    return [Alias(*row) for row in await connection.fetch(ALIASES, tenant)]


async def alias(connection: "Connection", tenant: str, name: str, *, hold: bool = False) -> Alias | None:
    """An alias; with `hold` nobody else takes a step of it until the end of the transaction."""
    row = await connection.fetchrow(HOLD if hold else ALIAS, tenant, name)
    return None if row is None else Alias(*row)


async def champions(connection: "Connection", tenant: str) -> Mapping[str, str]:
    """What a tenant's aliases point to, without canaries."""
    return {one.name: one.model for one in await aliases(connection, tenant)}


async def make(connection: "Connection", tenant: str, name: str, model: str) -> Alias | None:
    """A new alias, in a transaction; None when there is one of this name, or there are `MOST`."""
    await connection.execute(ONE_AT_A_TIME, tenant)
    row = await connection.fetchrow(MAKE, tenant, name, model)
    return None if row is None else Alias(*row)


async def point(
    connection: "Connection", tenant: str, name: str, model: str, canary: str | None = None, share: float | None = None
) -> Alias:
    """Point an alias that is held to a model, and a share of its jobs to a canary."""
    row = await connection.fetchrow(POINT, tenant, name, model, canary, share)
    assert row is not None, "the caller holds it"
    return Alias(*row)


async def remove(connection: "Connection", tenant: str, name: str) -> None:
    """Remove an alias; its ledger stays."""
    await connection.execute(REMOVE, tenant, name)


async def note(connection: "Connection", step: Step) -> asyncpg.Record:
    """Write a step into the ledger, in the transaction that takes it."""
    row = await connection.fetchrow(NOTE, *(getattr(step, name) for name in names(Step)))
    assert row is not None
    return row


async def ledger(
    connection: "Connection", tenant: str, name: str, *, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """A page of an alias's ledger, newest first."""
    return await connection.fetch(LEDGER, tenant, name, after, limit)


async def entry_of(connection: "Connection", job: UUID) -> asyncpg.Record | None:
    """The step that a job took."""
    return await connection.fetchrow(BY_JOB, job)


async def promotion_of(connection: "Connection", tenant: str, name: str, model: str) -> asyncpg.Record | None:
    """The newest promotion of a model to an alias."""
    return await connection.fetchrow(PROMOTED, tenant, name, model)


async def pointing(connection: "Connection", tenant: str, adapter: str, version: str | None) -> list[str]:
    """The aliases that point to an adapter (`base:name`), or to this `version` of it (`base:name@2`)."""
    return [row["name"] for row in await connection.fetch(POINTING, tenant, adapter, version)]


async def tended(connection: "Connection") -> list[tuple[Alias, bool]]:
    """Aliases of all tenants that need attention, each with whether it is settled."""
    return [(Alias(*row[: len(row) - 1]), row["settled"]) for row in await connection.fetch(TENDED)]


async def outdated(connection: "Connection", alias: Alias, after: UUID, limit: int) -> list[asyncpg.Record]:
    """A page of the jobs that wait for a model that the alias no longer means, locked."""
    return await connection.fetch(OUTDATED, alias.tenant, alias.name, alias.model, alias.canary_model, after, limit)


async def move(connection: "Connection", jobs: Sequence[tuple[UUID, str]], *, base: str, model: str) -> int:
    """Let jobs, each with its new input, run on `model`, which is one of `base`; how many."""
    ids, inputs = [job for job, _ in jobs], [given for _, given in jobs]
    return len(await connection.fetch(MOVE, ids, inputs, base, model))


async def settle(connection: "Connection", alias: Alias, after_s: float) -> None:
    """Note that no job waits for what the alias meant before, once it has not changed for `after_s` seconds."""
    await connection.execute(SETTLE, alias.tenant, alias.name, alias.changed_at, after_s)


async def enough(connection: "Connection", alias: Alias, jobs: int) -> bool:
    """Whether so many jobs of the alias's canary have ended."""
    given = (alias.tenant, alias.name, alias.canary_since, alias.canary_model, jobs)
    return int(await connection.fetchval(ENOUGH, *given)) == jobs


async def ended(connection: "Connection", alias: Alias, model: str, limit: int) -> list[tuple[bool, float | None]]:
    """Of each of the newest jobs on a model since the canary began: whether it failed, and how long it ran."""
    rows = await connection.fetch(ENDED, alias.tenant, alias.name, alias.canary_since, model, limit)
    return [(row["failed"], row["seconds"]) for row in rows]


async def look(connection: "Connection", alias: Alias) -> bool:
    """Take the next look at the canary; False when another process took it."""
    given = (alias.tenant, alias.name, alias.changed_at, alias.canary_looks)
    return await connection.fetchval(LOOK, *given) is not None


async def evaluations(connection: "Connection", tenant: str, limit: int) -> list[asyncpg.Record]:
    """The newest evaluations that succeeded; `input` and `result` are JSON texts."""
    return await connection.fetch(EVALUATIONS, tenant, limit)


async def evaluation(
    connection: "Connection", job: UUID, tenant: str, *, fresh_for: timedelta
) -> asyncpg.Record | None:
    """A job, and whether it ended within this time."""
    return await connection.fetchrow(EVALUATION, job, tenant, fresh_for)
