"""What stages say about their runs is kept under the fence of their job, once, and no more than may wait."""

from uuid import UUID

import pytest

from infra.postgres.queries import tracking
from infra.postgres.tracking import JobTracker, PostgresTrackers
from schemas.errors import LeaseLost
from schemas.lifecycle import JobState
from schemas.tracking import MAIN, NewRun, run_id
from tests.integration.jobs import Jobs

RUN = NewRun(MAIN, "e", "name")


def tracker(jobs: Jobs, job_id: UUID, epoch: int, *, most: int = 100, worker: str = "w") -> JobTracker:
    return PostgresTrackers(jobs.database, worker, most).of(job_id, epoch)


async def waiting(jobs: Jobs) -> int:
    async with jobs.database.connection() as connection:
        return (await tracking.depth(connection))["waiting"]


async def test_a_repeated_try_says_nothing_twice(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    for value in (1.0, 2.0):
        said = tracker(jobs, job_id, epoch)
        assert await said.begin(RUN) == run_id(job_id, MAIN)
        await said.log(MAIN, {"loss": value}, step=1)
        await said.log(MAIN, {"lr": value}, step=1)
        await said.log(MAIN, {"loss": value}, step=2)
        await said.attach(MAIN, "a.txt", f"file_{int(value)}")
    rows = await jobs.fetch("SELECT data FROM tracked_entry ORDER BY id")
    assert [row["data"] for row in rows] == [
        '{"metrics":{"loss":1.0},"step":1}',
        '{"metrics":{"lr":1.0},"step":1}',
        '{"metrics":{"loss":1.0},"step":2}',
        '{"file":"file_2","name":"a.txt"}',
    ], "the first values hold, the last file does"


async def test_a_try_that_lost_its_job_says_nothing(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    await tracker(jobs, job_id, epoch).begin(RUN)
    for late in (tracker(jobs, job_id, epoch - 1), tracker(jobs, job_id, epoch, worker="other")):
        with pytest.raises(LeaseLost):
            await late.begin(NewRun("another", "e", "name"))
        with pytest.raises(LeaseLost):
            await late.log(MAIN, {"x": 1})
    await jobs.finish(job_id, epoch, JobState.SUCCEEDED)
    with pytest.raises(LeaseLost):
        await tracker(jobs, job_id, epoch).attach(MAIN, "a", "file_1")
    assert len(await jobs.fetch("SELECT 1 FROM tracked_run")) == 1
    assert await waiting(jobs) == 0


async def test_what_is_beyond_the_limit_is_left_out_and_the_job_goes_on(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    said = tracker(jobs, job_id, epoch, most=3)
    await said.begin(RUN)
    for step in range(5):
        await said.log(MAIN, {"loss": 1}, step=step)
    assert await waiting(jobs) == 3
    await jobs.fetch("UPDATE tracked_entry SET sent_at = now() WHERE id = (SELECT min(id) FROM tracked_entry)")
    await said.log(MAIN, {"loss": 1}, step=5)
    assert await waiting(jobs) == 3


async def test_one_session_leads_and_another_takes_over_when_it_ends(jobs: Jobs) -> None:
    async with jobs.database.connection() as one, jobs.database.connection() as two:
        assert await tracking.try_to_lead(one)
        assert not await tracking.try_to_lead(two)
        await tracking.step_down(one)
        assert await tracking.try_to_lead(two)
        await tracking.step_down(two)


async def test_a_run_goes_with_its_job(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    said = tracker(jobs, job_id, epoch)
    await said.begin(RUN)
    await said.log(MAIN, {"x": float("nan"), "y": float("-inf")})
    assert (await jobs.fetch("SELECT data FROM tracked_entry"))[0]["data"] == (
        '{"metrics":{"x":"NaN","y":"-Infinity"},"step":0}'
    )
    await jobs.fetch("DELETE FROM job WHERE id = $1", job_id)
    assert await jobs.fetch("SELECT 1 FROM tracked_entry") == []
