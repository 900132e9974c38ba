"""A worker takes a job under a lease and keeps it by heartbeats; its epoch fences off all earlier workers."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from infra.postgres.queries import claim
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs


async def test_a_claim_raises_epoch_and_attempt_and_sets_a_lease(jobs: Jobs) -> None:
    [job_id] = await jobs.submit()
    [row] = await jobs.claim(job_id, lease_s=30, worker="w1")
    assert (row.epoch, row.attempt) == (1, 1)
    stored = await jobs.row(job_id)
    assert (stored["state"], stored["worker"]) == ("running", "w1")
    [left] = await jobs.fetch("SELECT lease_until - now() AS lease FROM job")
    assert timedelta(seconds=25) < left["lease"] <= timedelta(seconds=30)
    assert stored["started_at"] is not None


@pytest.mark.parametrize(("epoch", "stage"), [(1, "run"), (-1, "run"), (0, "other")])
async def test_a_stale_summons_claims_nothing(jobs: Jobs, epoch: int, stage: str) -> None:
    [job_id] = await jobs.submit()
    async with jobs.database.connection() as connection:
        assert await claim.claim(connection, [(job_id, epoch, stage)], worker="w", lease_s=10) == []
        assert await claim.claim(connection, [(uuid4(), 0, "run")], worker="w", lease_s=10) == []
    assert (await jobs.row(job_id))["state"] == "queued"


async def test_a_summons_repeated_within_one_poll_claims_once(jobs: Jobs) -> None:
    [job_id] = await jobs.submit()
    async with jobs.database.connection() as connection:
        rows = await claim.claim(connection, [(job_id, 0, "run")] * 3, worker="w", lease_s=10)
    assert [row.epoch for row in rows] == [1]
    assert await jobs.history(job_id) == ["running"]


async def test_concurrent_claims_share_the_jobs_out(jobs: Jobs) -> None:
    ids = await jobs.submit(40)
    groups = await asyncio.gather(*(jobs.claim(*ids, worker=f"w{n}") for n in range(8)))
    claimed = [row.id for group in groups for row in group]
    assert sorted(claimed) == sorted(ids)
    assert {row["epoch"] for row in await jobs.rows(ids)} == {1}


async def test_an_expired_job_is_not_claimed(jobs: Jobs) -> None:
    [job_id] = await jobs.submit(expires_in_s=-1.0)
    assert await jobs.claim(job_id) == []


async def test_a_heartbeat_renews_the_lease(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running(lease_s=1)
    before = (await jobs.row(job_id))["lease_until"]
    assert await jobs.heartbeat((job_id, epoch), lease_s=60) == {job_id: False}
    assert (await jobs.row(job_id))["lease_until"] - before > timedelta(seconds=50)


async def test_a_heartbeat_misses_what_ended_or_went_to_another_worker(jobs: Jobs) -> None:
    ended, epoch = await jobs.running()
    await jobs.finish(ended, epoch, JobState.SUCCEEDED)
    taken, old = await jobs.running()
    await jobs.finish(taken, old, JobState.QUEUED)
    await jobs.claim(taken)
    assert await jobs.heartbeat((ended, epoch), (taken, old)) == {}


async def test_a_heartbeat_tells_of_a_cancellation(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    assert await jobs.cancel(job_id) == (True, set())
    assert await jobs.heartbeat((job_id, epoch)) == {job_id: True}


async def test_progress_is_kept_and_told(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    async with jobs.database.connection() as connection:
        await claim.progress(connection, job_id, epoch, 3, 10, "세 번째", worker="w")
    row = await jobs.row(job_id)
    assert (row["progress_done"], row["progress_total"], row["progress_message"]) == (3, 10, "세 번째")
    [event] = await jobs.fetch("SELECT data FROM job_event WHERE type = 'progress'")
    assert event["data"] == '{"done" : 3, "total" : 10, "message" : "세 번째"}'


async def test_metrics_are_told_with_the_progress(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    async with jobs.database.connection() as connection:
        await claim.progress(connection, job_id, epoch, 3, 10, "loss", {"loss": 1.5, "left_s": 3.0}, worker="w")
    [event] = await jobs.fetch("SELECT data->'metrics' AS metrics FROM job_event WHERE type = 'progress'")
    assert event["metrics"] == '{"loss":1.5,"left_s":3.0}'


async def test_a_stale_epoch_cannot_report_progress(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    async with jobs.database.connection() as connection:
        await claim.progress(connection, job_id, epoch - 1, 3, 10, None, worker="w")
    assert (await jobs.row(job_id))["progress_total"] == 0
    assert await jobs.fetch("SELECT id FROM job_event WHERE type = 'progress'") == []
