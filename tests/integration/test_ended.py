"""The statement that ends a job also writes what follows: deliveries for receivers, dead letters."""

import json
from dataclasses import replace
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from infra.postgres.queries import moves
from infra.postgres.queries.ended import FOLLOWS, follows
from producers.rescue import Rescuer
from schemas.kinds.registry import KINDS
from schemas.lifecycle import JobState
from schemas.webhooks import EVENTS
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs

S = JobState
HOOK = json.dumps({"url": "https://r.example/in", "origin": "https://r.example", "events": list(EVENTS)})


async def endpoint(
    jobs: Jobs, tenant: str = "default", events: tuple[str, ...] = EVENTS, disabled: bool = False
) -> UUID:
    made = uuids.uuid7()
    await jobs.fetch(
        "INSERT INTO webhook_endpoint (id, tenant, url, events, secret, disabled_at)"
        " VALUES ($1, $2, 'https://r.example', $3, 'whsec_', CASE WHEN $4 THEN now() END)",
        made, tenant, list(events), disabled,
    )  # fmt: skip
    return made


async def deliveries(jobs: Jobs) -> list[tuple[str, str]]:
    """The destination and type of each delivery."""
    rows = await jobs.fetch("SELECT destination, type FROM webhook_delivery ORDER BY destination, type")
    return [(row["destination"], row["type"]) for row in rows]


async def letters(jobs: Jobs) -> list[tuple[UUID, str]]:
    rows = await jobs.fetch("SELECT job_id, reason FROM dead_letter ORDER BY id")
    return [(row["job_id"], row["reason"]) for row in rows]


async def end_by_a_worker(jobs: Jobs, job_id: UUID) -> str:
    await jobs.end(job_id)
    return "job.succeeded"


async def end_by_failing(jobs: Jobs, job_id: UUID) -> str:
    [row] = await jobs.claim(job_id)
    await jobs.finish(job_id, row.epoch, S.FAILED, error='{"code": "invalid_input"}', code="invalid_input")
    return "job.failed"


async def end_by_cancelling(jobs: Jobs, job_id: UUID) -> str:
    await jobs.cancel(job_id)
    return "job.cancelled"


async def end_by_expiring(jobs: Jobs, job_id: UUID) -> str:
    await jobs.fetch("UPDATE job SET expires_at = now() - interval '1 s' WHERE id = $1", job_id)
    await Rescuer(jobs.database, RESCUE, lambda: None).sweep()
    return "job.failed"


async def end_by_dying_workers(jobs: Jobs, job_id: UUID) -> str:
    await jobs.fetch("UPDATE job SET max_attempts = 1 WHERE id = $1", job_id)
    await jobs.claim(job_id, lease_s=-1)
    await Rescuer(jobs.database, RESCUE, lambda: None).sweep()
    return "job.failed"


WAYS = [end_by_a_worker, end_by_failing, end_by_cancelling, end_by_expiring, end_by_dying_workers]


@pytest.mark.parametrize("end", WAYS)
async def test_however_a_job_ends_its_receivers_are_told_once(jobs: Jobs, end: object) -> None:
    assert callable(end)
    mine = await endpoint(jobs)
    await endpoint(jobs, tenant="another")
    await endpoint(jobs, disabled=True)
    [job_id] = await jobs.submit(webhook=HOOK)
    told = await end(jobs, job_id)
    assert await deliveries(jobs) == sorted([(str(mine), told), ("https://r.example", told)])
    [row, _] = await jobs.fetch("SELECT data FROM webhook_delivery")
    data = json.loads(row["data"])
    assert (data["id"], data["kind"], data["state"]) == (f"job_{job_id.hex}", "noop", told.removeprefix("job."))


async def test_a_receiver_hears_only_of_what_it_asked_for(jobs: Jobs) -> None:
    mine = await endpoint(jobs, events=("job.failed",))
    only = json.dumps({"url": "https://r.example/in", "origin": "https://r.example", "events": ["job.cancelled"]})
    first, second = await jobs.submit(2, webhook=only)
    await jobs.end(first)
    assert await deliveries(jobs) == []
    await end_by_failing(jobs, second)
    assert await deliveries(jobs) == [(str(mine), "job.failed")]


async def test_a_kind_is_announced_by_its_noun_and_children_are_not(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"noop": KINDS["noop"], "crowd": replace(KINDS["noop"], name="crowd", noun="crowd")}
    monkeypatch.setattr(moves, "FINISH", moves.FINISH.replace(FOLLOWS, follows(kinds)))
    await endpoint(jobs, events=(*EVENTS, "crowd.succeeded"))
    parent, [child] = await jobs.parent(1)
    await jobs.fetch("UPDATE job SET kind = 'crowd' WHERE id = $1", parent)
    await jobs.end(child)
    assert await deliveries(jobs) == []
    await jobs.resume(parent)
    await jobs.end(parent)
    assert [kind for _, kind in await deliveries(jobs)] == ["crowd.succeeded"]


@pytest.mark.parametrize(
    ("state", "code", "event"),
    [
        (S.SUCCEEDED, None, "batch.completed"),
        (S.FAILED, "batch_invalid", "batch.failed"),
        (S.FAILED, "expired", "batch.expired"),
        (S.CANCELLED, None, "batch.cancelled"),
    ],
)
async def test_the_ends_of_a_kind_have_the_names_that_it_gives_them(
    jobs: Jobs, state: JobState, code: str | None, event: str
) -> None:
    await endpoint(jobs)
    job_id, epoch = await jobs.running(kind="batch", stage="assemble")
    error = None if code is None else json.dumps({"code": code, "message": "", "retryable": False})
    await jobs.finish(job_id, epoch, state, code=code, error=error)
    assert [kind for _, kind in await deliveries(jobs)] == [event]
    [row] = await jobs.fetch("SELECT data FROM webhook_delivery")
    assert json.loads(row["data"])["id"] == f"batch_{job_id.hex}"


async def test_a_move_that_is_no_end_tells_nobody(jobs: Jobs) -> None:
    await endpoint(jobs)
    job_id, epoch = await jobs.running(webhook=HOOK)
    assert await jobs.finish(job_id, epoch, S.RETRY_WAIT) is not None
    assert await jobs.finish(job_id, epoch, S.SUCCEEDED) is None  # a stale try
    assert await deliveries(jobs) == []


async def test_a_job_whose_attempts_are_spent_leaves_a_dead_letter(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    error = json.dumps({"code": "internal_error", "message": "a NUL of someone's input: \x00", "retryable": True})
    await jobs.finish(job_id, epoch, S.FAILED, error=error, code="internal_error", dead=True)
    [killed] = await jobs.submit()
    await end_by_dying_workers(jobs, killed)
    assert await letters(jobs) == [(job_id, "internal_error"), (killed, "lease_expired")]


@pytest.mark.parametrize("end", [end_by_a_worker, end_by_failing, end_by_cancelling, end_by_expiring])
async def test_any_other_end_leaves_none(jobs: Jobs, end: object) -> None:
    assert callable(end)
    [job_id] = await jobs.submit()
    await end(jobs, job_id)
    assert await letters(jobs) == []


async def test_a_worker_of_another_name_cannot_write_under_the_same_epoch(jobs: Jobs) -> None:
    """A failover to a lagging replica may undo a claim, after which the next claim has the same epoch."""
    [job_id] = await jobs.submit()
    await jobs.claim(job_id, worker="before")
    await jobs.fetch("UPDATE job SET state = 'queued', epoch = 0, attempt = 0, worker = NULL WHERE id = $1", job_id)
    [row] = await jobs.claim(job_id, worker="after")
    assert await jobs.finish(job_id, row.epoch, S.SUCCEEDED, worker="before") is None
    assert await jobs.heartbeat((job_id, row.epoch), worker="before") == {}
    assert await jobs.fan_out(job_id, row.epoch, 2, worker="before") == []
    assert await jobs.finish(job_id, row.epoch, S.SUCCEEDED, worker="after") is not None
