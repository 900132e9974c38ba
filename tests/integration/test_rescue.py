"""Jobs that would otherwise wait forever are moved on, by one rescuer at a time."""

import asyncio
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from infra.postgres.database import Database
from infra.postgres.queries import claim, rescue
from infra.settings import PostgresSettings
from producers import rescue as rescue_module
from producers.rescue import Rescuer
from schemas.lifecycle import JobState
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs

S = JobState
AT_ONCE = RESCUE.model_copy(update={"gone": timedelta(0)})


@pytest.fixture
def rescuer(jobs: Jobs) -> Rescuer:
    return Rescuer(jobs.database, RESCUE, lambda: None)


async def age(jobs: Jobs, job_id: UUID, *, due_s: float, summoned_s: float) -> None:
    """Make a job look as if it had been queued and summoned this many seconds ago."""
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
    assert (row["state"], row["attempt"], row["epoch"], row["lease_until"]) == ("retry_wait", 0, epoch, None)
    assert json.loads(row["error"])["code"] == "lease_expired"
    assert await jobs.finish(job_id, epoch, S.SUCCEEDED) is None
    await jobs.fetch("UPDATE job SET due_at = now()")
    assert await rescuer.sweep() == 1
    assert await jobs.history(job_id) == ["running", "retry_wait", "queued"]
    assert await jobs.messages(job_id) == [("run", 0), ("run", 1)]
    [claimed] = await jobs.claim(job_id)
    assert (claimed.epoch, claimed.attempt) == (2, 1)


async def test_a_lease_that_holds_is_left_alone(jobs: Jobs, rescuer: Rescuer) -> None:
    job_id, _ = await jobs.running(lease_s=60)
    assert await rescuer.sweep() == 0
    assert (await jobs.row(job_id))["state"] == "running"


async def test_the_leases_of_a_worker_without_a_session_end_at_once(jobs: Jobs) -> None:
    rescuer = Rescuer(jobs.database, AT_ONCE, lambda: None)
    async with jobs.database.connection() as session:
        await claim.attend(session, "alive")
        [dead, living] = await jobs.submit(2)
        await jobs.claim(dead, worker="dead")
        await jobs.claim(living, worker="alive")
        assert await rescuer.sweep() == 1
        assert (await jobs.row(dead))["state"] == "retry_wait"
        assert (await jobs.row(living))["state"] == "running"
        await session.execute("SELECT pg_advisory_unlock_all()")


async def test_a_worker_that_is_absent_at_the_second_sight_leaves_its_groups_once(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescue_module, "DISMISSED_AFTER_S", 0.0)
    dismissed: asyncio.Queue[set[str]] = asyncio.Queue()

    async def dismiss(workers: Collection[str]) -> None:
        await dismissed.put(set(workers))

    rescuer = Rescuer(jobs.database, RESCUE, lambda: None, dismiss)
    async with jobs.database.connection() as session:
        await claim.attend(session, "alive")
        [dead, living, later] = await jobs.submit(3)
        await jobs.claim(dead, worker="dead")
        await jobs.claim(living, worker="alive")
        await rescuer.sweep()
        assert await dismissed.get() == {"dead"}
        await jobs.claim(later, worker="dead later")
        await rescuer.sweep()
        assert await dismissed.get() == {"dead later"}
        await session.execute("SELECT pg_advisory_unlock_all()")


async def test_a_worker_that_comes_back_in_time_keeps_its_jobs(jobs: Jobs) -> None:
    rescuer = Rescuer(jobs.database, RESCUE.model_copy(update={"gone": timedelta(seconds=0.2)}), lambda: None)
    job_id, _ = await jobs.running()
    assert await rescuer.sweep() == 0  # the absence counts from now on
    async with jobs.database.connection() as session:
        await claim.attend(session, "w")
        began = monotonic()
        while monotonic() < began + 0.4:
            assert await rescuer.sweep() == 0
        await session.execute("SELECT pg_advisory_unlock_all()")
    assert await rescuer.sweep() == 0  # and now from the start again
    assert (await jobs.row(job_id))["state"] == "running"


async def test_a_rescuer_that_was_cut_off_forgets_who_was_absent(jobs: Jobs, postgres: PostgresSettings) -> None:
    """What cut it off may also have ended the sessions of living workers."""
    cut_off = Database(postgres, application="rescuer")
    rescuer = Rescuer(cut_off, RESCUE.model_copy(update={"gone": timedelta(seconds=0.2)}), lambda: None)
    await cut_off.open()
    job_id, _ = await jobs.running()
    await rescuer.sweep()
    await cut_off.close()
    sweeping = asyncio.create_task(rescuer.run())
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            while "rescue.away" not in [log["event"] for log in logs]:
                await asyncio.sleep(0.01)
    sweeping.cancel()
    assert rescuer._absent == {}
    assert rescuer._charged_from > monotonic() - 60
    assert (await jobs.row(job_id))["state"] == "running"


async def test_a_job_of_one_attempt_that_lost_its_worker_fails(jobs: Jobs, rescuer: Rescuer) -> None:
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
    await jobs.finish(waiting, claimed.epoch, S.RETRY_WAIT, delay_s=99)
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
