"""The heartbeat's thread keeps leases, passes on what Postgres answers, and survives whatever goes wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
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
from tests.waiting import until

LEASE_S = 3.0
SHORT = WorkerSettings(lease=timedelta(seconds=LEASE_S), heartbeat=timedelta(seconds=0.1))
LONG = WorkerSettings(lease=timedelta(minutes=10), heartbeat=timedelta(seconds=0.1))
"""Of tests that are about something else than the end of a lease: a busy machine may leave a thread waiting."""


class Holder:
    """Holds jobs and records why it is told to abort them."""

    def __init__(self) -> None:
        self.held = HeldJobs()
        self.aborted: dict[UUID, Abort] = {}
        self.aborted_at = 0.0

    def hold(self, job_id: UUID, epoch: int, lease: WorkerSettings = LONG) -> HeldJob:
        def abort(why: Abort) -> None:
            self.aborted_at = self.aborted_at or monotonic()
            self.aborted.setdefault(job_id, why)

        job = HeldJob(job_id, epoch, monotonic() + lease.lease.total_seconds(), abort)
        self.held.add(job)
        return job


@pytest.fixture
def holder() -> Holder:
    return Holder()


@contextmanager
def beats(holder: Holder, postgres: PostgresSettings, settings: WorkerSettings) -> Iterator[None]:
    heartbeat = Heartbeat(holder.held, postgres, settings, worker_name="w")
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stop()


@pytest.fixture
def beating(holder: Holder, postgres: PostgresSettings) -> Iterator[None]:
    with beats(holder, postgres, LONG):
        yield


async def test_leases_are_renewed_for_as_long_as_a_job_is_held(
    jobs: Jobs, holder: Holder, postgres: PostgresSettings
) -> None:
    job_id, epoch = await jobs.running(lease_s=LEASE_S)
    held = holder.hold(job_id, epoch, SHORT)
    with beats(holder, postgres, SHORT):
        end = monotonic() + 2 * LEASE_S
        await until(lambda: held.deadline > end, "two leases later it is held")
        [row] = await jobs.fetch("SELECT lease_until > now() AS holds, now() - started_at AS ran FROM job")
    assert row["holds"]
    assert row["ran"] > timedelta(seconds=LEASE_S)
    assert holder.aborted == {}


async def test_it_tells_of_cancelled_and_of_lost_jobs(jobs: Jobs, holder: Holder, beating: None) -> None:
    cancelled, kept, lost = [await jobs.running() for _ in range(3)]
    for job_id, epoch in (cancelled, kept, lost):
        holder.hold(job_id, epoch)
    await jobs.cancel(cancelled[0])
    await jobs.finish(*lost, JobState.QUEUED)
    await until(lambda: len(holder.aborted) == 2, "it told of both")
    assert holder.aborted == {cancelled[0]: Abort.CANCELLED, lost[0]: Abort.LEASE_LOST}


async def test_it_survives_an_unexpected_error(jobs: Jobs, holder: Holder, beating: None) -> None:
    job_id, epoch = await jobs.running()
    held = holder.hold(job_id, epoch)
    with capture_logs() as logs:
        await jobs.fetch("ALTER TABLE job RENAME TO hidden")
        await until(lambda: [log["event"] for log in logs].count("heartbeat.defect") >= 2, "it failed twice")
    before = held.deadline
    await jobs.fetch("ALTER TABLE hidden RENAME TO job")
    await until(lambda: held.deadline > before, "the lease is renewed")
    assert holder.aborted == {}


async def test_it_comes_back_after_its_session_was_cut(jobs: Jobs, holder: Holder, beating: None) -> None:
    job_id, epoch = await jobs.running()
    held = holder.hold(job_id, epoch)
    before = held.deadline
    await until(lambda: held.deadline > before, "the lease is renewed")
    await jobs.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name <> 'test' AND pid <> pg_backend_pid()"
    )
    cut = held.deadline
    await until(lambda: held.deadline > cut, "the lease is renewed")
    assert holder.aborted == {}


async def test_jobs_are_aborted_before_their_leases_end_while_postgres_is_away(holder: Holder) -> None:
    nowhere = PostgresSettings.model_validate({"url": f"postgresql://postgres@127.0.0.1:{free_port()}/welip"})
    heartbeat = Heartbeat(holder.held, nowhere, SHORT, worker_name="w")
    held = holder.hold(UUID(int=1), 1, SHORT)
    heartbeat.start()
    try:
        await until(lambda: bool(holder.aborted), "the job is aborted")
        assert holder.aborted_at < held.deadline
        assert holder.aborted == {held.id: Abort.LEASE_LOST}
    finally:
        heartbeat.stop()
