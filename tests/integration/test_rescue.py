"""Whatever would lie for ever is put back on its way, by one rescuer at a time."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from infra.postgres.queries import rescue
from producers.rescue import Rescuer
from schemas.lifecycle import JobState
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs

S = JobState


@pytest.fixture
def rescuer(jobs: Jobs) -> Rescuer:
    return Rescuer(jobs.database, RESCUE, lambda: None)


async def age(jobs: Jobs, job_id: UUID, *, due_s: float, summoned_s: float) -> None:
    """Let a job have been queued and summoned so many seconds ago."""
    await jobs.fetch(
        "UPDATE job SET due_at = now() - make_interval(secs => $2), summoned_at = now() - make_interval(secs => $3)"
        " WHERE id = $1",
        job_id,
        due_s,
        summoned_s,
    )


async def test_a_job_whose_lease_ended_is_tried_again(jobs: Jobs, rescuer: Rescuer) -> None:
    job_id, epoch = await jobs.running(lease_s=-1)
    assert await rescuer.sweep() == 1
    row = await jobs.row(job_id)
    assert (row["state"], row["attempt"], row["epoch"], row["lease_until"]) == ("retry_wait", 1, epoch, None)
    assert json.loads(row["error"])["code"] == "lease_expired"
    assert await jobs.finish(job_id, epoch, S.SUCCEEDED) is None
    await jobs.fetch("UPDATE job SET due_at = now()")
    assert await rescuer.sweep() == 1
    assert await jobs.history(job_id) == ["running", "retry_wait", "queued"]
    assert await jobs.messages(job_id) == [("run", 0), ("run", 1)]
    [claimed] = await jobs.claim(job_id)
    assert (claimed["epoch"], claimed["attempt"]) == (2, 2)


async def test_a_lease_that_holds_is_left_alone(jobs: Jobs, rescuer: Rescuer) -> None:
    job_id, _ = await jobs.running(lease_s=60)
    assert await rescuer.sweep() == 0
    assert (await jobs.row(job_id))["state"] == "running"


async def test_a_job_whose_last_attempt_lost_its_worker_fails(jobs: Jobs, rescuer: Rescuer) -> None:
    job_id, _ = await jobs.running(lease_s=-1, max_attempts=1)
    assert await rescuer.sweep() == 1
    row = await jobs.row(job_id)
    assert row["state"] == "failed"
    assert row["finished_at"] is not None
    assert json.loads(row["error"]) == {
        "code": "lease_expired",
        "message": "the worker stopped answering in attempt 1 of 1",
        "retryable": True,
    }


async def test_a_cancelled_job_whose_worker_died_is_cancelled(jobs: Jobs, rescuer: Rescuer) -> None:
    job_id, _ = await jobs.running(lease_s=-1)
    await jobs.cancel(job_id)
    assert await rescuer.sweep() == 1
    row = await jobs.row(job_id)
    assert (row["state"], row["error"]) == ("cancelled", None)
    assert row["finished_at"] is not None


async def test_a_wait_that_is_over_queues_the_job(jobs: Jobs, rescuer: Rescuer) -> None:
    due, epoch = await jobs.running()
    await jobs.finish(due, epoch, S.RETRY_WAIT, delay_s=0)
    early, epoch = await jobs.running()
    await jobs.finish(early, epoch, S.RETRY_WAIT, delay_s=60)
    assert await rescuer.sweep() == 1
    assert await jobs.states([due]) == {"queued"}
    assert await jobs.states([early]) == {"retry_wait"}
    assert await jobs.messages(due) == [("run", 0), ("run", 1)]


async def test_a_job_that_nobody_claimed_in_time_fails(jobs: Jobs, rescuer: Rescuer) -> None:
    [queued] = await jobs.submit(expires_in_s=-1.0)
    [waiting] = await jobs.submit(expires_in_s=60.0)
    [claimed] = await jobs.claim(waiting)
    await jobs.finish(waiting, claimed["epoch"], S.RETRY_WAIT, delay_s=99)
    await jobs.fetch("UPDATE job SET expires_at = now() - interval '1 s' WHERE id = $1", waiting)
    running, _ = await jobs.running(expires_in_s=60.0)
    await jobs.fetch("UPDATE job SET expires_at = now() - interval '1 s' WHERE id = $1", running)
    [patient] = await jobs.submit(expires_in_s=60.0)
    assert await rescuer.sweep() == 2
    for row in await jobs.rows([queued, waiting]):
        assert (row["state"], json.loads(row["error"])["code"]) == ("failed", "expired")
    assert await jobs.states([running]) == {"running"}
    assert await jobs.states([patient]) == {"queued"}


async def test_an_unclaimed_job_is_summoned_again_after_pauses_that_double(jobs: Jobs) -> None:
    [job_id] = await jobs.submit()

    async def summoned_again(*, due_s: float, summoned_s: float) -> bool:
        await age(jobs, job_id, due_s=due_s, summoned_s=summoned_s)
        async with jobs.database.connection() as connection:
            return await rescue.summon_again(connection, 10, unclaimed_s=30) == 1

    assert not await summoned_again(due_s=29, summoned_s=29)
    assert await summoned_again(due_s=31, summoned_s=31)
    assert not await summoned_again(due_s=100, summoned_s=45)
    assert await summoned_again(due_s=100, summoned_s=55)
    assert not await summoned_again(due_s=1000, summoned_s=480)
    assert await summoned_again(due_s=1000, summoned_s=520)
    assert await jobs.messages(job_id) == [("run", 0)] * 4
    assert (await jobs.row(job_id))["epoch"] == 0


async def test_a_job_that_was_queued_late_is_summoned_again_as_soon_as_any_other(jobs: Jobs, rescuer: Rescuer) -> None:
    job_id, epoch = await jobs.running()
    await jobs.finish(job_id, epoch, S.RETRY_WAIT, delay_s=0)
    await jobs.fetch("UPDATE job SET due_at = now() - interval '1 hour'")  # no rescuer ran for an hour
    await rescuer.sweep()
    row = await jobs.row(job_id)
    assert row["due_at"] == row["summoned_at"]


async def test_after_the_loss_of_a_broker_every_queued_job_is_summoned(jobs: Jobs, rescuer: Rescuer) -> None:
    ids = await jobs.submit(30)
    running, _ = await jobs.running()
    await jobs.fetch("DELETE FROM outbox")
    assert await rescuer.summon_all() == 30
    rows = await jobs.fetch("SELECT job_id FROM outbox")
    assert sorted(row["job_id"] for row in rows) == sorted(ids)
    assert running not in ids


async def test_only_jobs_summoned_before_are_summoned_again(jobs: Jobs) -> None:
    before = datetime.now(UTC)
    await jobs.submit()
    async with jobs.database.connection() as connection:
        assert await rescue.summon_all(connection, 10, before=before) == 0


async def test_one_rescuer_leads_and_the_others_stand_by(jobs: Jobs, rescuer: Rescuer) -> None:
    job_id, _ = await jobs.running(lease_s=-1)
    async with jobs.database.unit_of_work() as connection:
        assert await rescue.lead(connection)
        assert await rescuer.sweep() == 0
        assert await jobs.states([job_id]) == {"running"}
    assert await rescuer.sweep() == 1


async def test_rescuers_that_sweep_at_once_move_each_job_once(jobs: Jobs) -> None:
    ids = [(await jobs.running(lease_s=-1))[0] for _ in range(20)]
    rescuers = [Rescuer(jobs.database, RESCUE, lambda: None) for _ in range(4)]
    assert sum(await asyncio.gather(*(one.sweep() for one in rescuers))) >= 20
    for job_id in ids:
        assert (await jobs.history(job_id)).count("retry_wait") == 1
