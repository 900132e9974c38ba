"""What stages say about their runs is kept under the fence of their job, once, and no more than may wait."""

from uuid import UUID

import pytest

from infra.postgres.queries import refusals, tracking
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


async def refused_job(jobs: Jobs) -> UUID:
    """A job that has ended: of one run an entry was refused, another run as a whole with its entry."""
    job_id, epoch = await jobs.running()
    said = tracker(jobs, job_id, epoch)
    for key in ("good", "bad"):
        await said.begin(NewRun(key, "e", key))
        await said.log(key, {"x": 1})
    await said.attach("good", "report.html", "file_1")
    await jobs.finish(job_id, epoch, JobState.SUCCEEDED)
    async with jobs.database.connection() as connection:
        await tracking.begun(connection, run_id(job_id, "good"), "m1")
        first, file = await tracking.entries(connection, run_id(job_id, "good"), 10)
        await tracking.sent(connection, first)
        await tracking.refused(connection, file, "no such file")
        await tracking.close(connection, run_id(job_id, "good"))
        await tracking.refuse_run(connection, run_id(job_id, "bad"), "no such experiment")
    return job_id


async def listed(jobs: Jobs) -> list[tuple[UUID, str, str, str]]:
    async with jobs.database.connection() as connection:
        rows = await refusals.refused(connection, 10)
    return [(row["job_id"], row["run"], row["what"], row["error"]) for row in rows]


async def due(jobs: Jobs) -> dict[str, list[str]]:
    """The runs for which something is to be sent, with what their entries say."""
    async with jobs.database.connection() as connection:
        return {
            run.name: [entry.data for entry in await tracking.entries(connection, run.id, 10)]
            for run in await tracking.due(connection, 10)
        }


async def test_what_was_refused_is_listed_and_sent_again_when_it_is_retried(jobs: Jobs) -> None:
    job_id, other = await refused_job(jobs), await refused_job(jobs)
    assert await listed(jobs) == [
        (job, run, what, why)
        for job in (other, job_id)
        for run, what, why in (
            ("good", "file/report.html", "no such file"),
            ("bad", "run", "no such experiment"),
        )
    ]
    assert await due(jobs) == {}
    async with jobs.database.connection() as connection:
        assert await refusals.retry(connection, [job_id]) == {job_id}
        assert await refusals.retry(connection, [job_id]) == set()
    assert await due(jobs) == {
        "good": ['{"file":"file_1","name":"report.html"}'],
        "bad": ['{"metrics":{"x":1},"step":0}'],
    }, "what MLflow had taken is not sent again"
    assert {job for job, *_ in await listed(jobs)} == {other}
    async with jobs.database.connection() as connection:
        assert await refusals.retry(connection, None) == {other}
    assert await listed(jobs) == []


async def test_what_is_dropped_is_never_sent(jobs: Jobs) -> None:
    job_id, other = await refused_job(jobs), await refused_job(jobs)
    async with jobs.database.connection() as connection:
        assert await refusals.drop(connection, [other]) == {other}
        assert {job for job, *_ in await listed(jobs)} == {job_id}
        assert await refusals.drop(connection, None) == {job_id}
        assert await refusals.drop(connection, None) == set()
        assert await tracking.depth(connection) == {"waiting": 0, "refused": 0}
    assert await due(jobs) == {}


async def test_a_run_that_was_refused_takes_no_more_until_it_is_retried(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    said = tracker(jobs, job_id, epoch)
    await said.begin(RUN)
    async with jobs.database.connection() as connection:
        await tracking.refuse_run(connection, run_id(job_id, MAIN), "no such experiment")
        await said.log(MAIN, {"x": 1}, step=1)
        assert await tracking.depth(connection) == {"waiting": 0, "refused": 1}
        await refusals.retry(connection, [job_id])
        await said.log(MAIN, {"x": 2}, step=2)
    assert await due(jobs) == {"name": ['{"metrics":{"x":2},"step":2}']}
