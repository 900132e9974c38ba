"""The heartbeat's thread keeps leases, passes on what Postgres answers, and survives whatever goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from time import monotonic
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from consumers.heartbeat import Heartbeat
from consumers.held import Abort, HeldJob, HeldJobs
from infra.local.child import free_port
from infra.settings import PostgresSettings, WorkerSettings
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs

LEASE_S = 1.5
SETTINGS = WorkerSettings(lease=timedelta(seconds=LEASE_S), heartbeat=timedelta(seconds=0.1))


class Holder:
    """Holds jobs and records why it is told to abort them."""

    def __init__(self) -> None:
        self.held = HeldJobs()
        self.aborted: dict[UUID, Abort] = {}

    def hold(self, job_id: UUID, epoch: int) -> HeldJob:
        def abort(why: Abort) -> None:
            self.aborted.setdefault(job_id, why)

        job = HeldJob(job_id, epoch, monotonic() + LEASE_S, abort)
        self.held.add(job)
        return job


@pytest.fixture
def holder() -> Holder:
    return Holder()


@pytest.fixture
async def beating(holder: Holder, postgres: PostgresSettings) -> AsyncIterator[Heartbeat]:
    heartbeat = Heartbeat(holder.held, postgres, SETTINGS, worker_name="w")
    heartbeat.start()
    yield heartbeat
    heartbeat.stop()


async def until(condition: Callable[[], bool], *, within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_leases_are_renewed_for_as_long_as_a_job_is_held(jobs: Jobs, holder: Holder, beating: Heartbeat) -> None:
    job_id, epoch = await jobs.running(lease_s=LEASE_S)
    held = holder.hold(job_id, epoch)
    end = monotonic() + 2 * LEASE_S
    await until(lambda: held.deadline > end)
    [row] = await jobs.fetch("SELECT lease_until > now() AS holds, now() - started_at AS ran FROM job")
    assert row["holds"]
    assert row["ran"] > timedelta(seconds=LEASE_S)
    assert holder.aborted == {}


async def test_it_tells_of_cancelled_and_of_lost_jobs(jobs: Jobs, holder: Holder, beating: Heartbeat) -> None:
    cancelled, kept, lost = [await jobs.running() for _ in range(3)]
    for job_id, epoch in (cancelled, kept, lost):
        holder.hold(job_id, epoch)
    await jobs.cancel(cancelled[0])
    await jobs.finish(*lost, JobState.QUEUED)
    await until(lambda: len(holder.aborted) == 2)
    assert holder.aborted == {cancelled[0]: Abort.CANCELLED, lost[0]: Abort.LEASE_LOST}


async def test_it_survives_an_unexpected_error(jobs: Jobs, holder: Holder, beating: Heartbeat) -> None:
    job_id, epoch = await jobs.running(lease_s=LEASE_S)
    held = holder.hold(job_id, epoch)
    with capture_logs() as logs:
        await jobs.fetch("ALTER TABLE job RENAME TO hidden")
        await until(lambda: [log["event"] for log in logs].count("heartbeat.defect") == 2)
    before = held.deadline
    await jobs.fetch("ALTER TABLE hidden RENAME TO job")
    await until(lambda: held.deadline > before)
    assert holder.aborted == {}


async def test_it_comes_back_after_its_session_was_cut(jobs: Jobs, holder: Holder, beating: Heartbeat) -> None:
    job_id, epoch = await jobs.running(lease_s=LEASE_S)
    held = holder.hold(job_id, epoch)
    before = held.deadline
    await until(lambda: held.deadline > before)
    await jobs.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name <> 'test' AND pid <> pg_backend_pid()"
    )
    cut = held.deadline
    await until(lambda: held.deadline > cut)
    assert holder.aborted == {}


async def test_jobs_are_aborted_before_their_leases_end_while_postgres_is_away(holder: Holder) -> None:
    nowhere = PostgresSettings.model_validate({"url": f"postgresql://postgres@127.0.0.1:{free_port()}/welip"})
    heartbeat = Heartbeat(holder.held, nowhere, SETTINGS, worker_name="w")
    held = holder.hold(UUID(int=1), 1)
    heartbeat.start()
    try:
        await until(lambda: bool(holder.aborted))
        assert monotonic() < held.deadline
        assert holder.aborted == {held.id: Abort.LEASE_LOST}
    finally:
        heartbeat.stop()
