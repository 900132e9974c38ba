"""Owners cancel their jobs at any moment of a job's life."""

import asyncio

import pytest

from infra.postgres.queries import moves
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs, in_pages, new_child

S = JobState


async def test_a_queued_job_is_cancelled_at_once(jobs: Jobs) -> None:
    [job_id] = await jobs.submit()
    assert await jobs.cancel(job_id) == (True, set())
    row = await jobs.row(job_id)
    assert (row["state"], row["cancel_requested"]) == ("cancelled", True)
    assert row["finished_at"] is not None
    assert await jobs.claim(job_id) == []


async def test_a_job_that_waits_for_its_next_try_is_cancelled_at_once(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    await jobs.finish(job_id, epoch, S.RETRY_WAIT, delay_s=0)
    assert await jobs.cancel(job_id) == (True, set())
    assert (await jobs.row(job_id))["state"] == "cancelled"


async def test_a_running_job_is_marked_and_ends_with_its_worker(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    assert await jobs.cancel(job_id) == (True, set())
    row = await jobs.row(job_id)
    assert (row["state"], row["cancel_requested"], row["finished_at"]) == ("running", True, None)
    moved = await jobs.finish(job_id, epoch, S.CANCELLED)
    assert moved is not None
    assert moved.state is S.CANCELLED
    assert await jobs.history(job_id) == ["running", "cancelled"]


@pytest.mark.parametrize("state", [S.QUEUED, S.RETRY_WAIT])
async def test_a_cancelled_job_goes_to_no_further_stage_or_try(jobs: Jobs, state: JobState) -> None:
    job_id, epoch = await jobs.running()
    await jobs.cancel(job_id)
    moved = await jobs.finish(job_id, epoch, state, stage="later", carry="{}")
    assert moved is not None
    assert moved.state is S.CANCELLED
    row = await jobs.row(job_id)
    assert row["state"] == "cancelled"
    assert row["finished_at"] is not None
    assert await jobs.messages(job_id) == [("run", 0)]


@pytest.mark.parametrize("state", [S.SUCCEEDED, S.FAILED])
async def test_a_stage_that_ends_the_job_wins_over_a_late_cancellation(jobs: Jobs, state: JobState) -> None:
    job_id, epoch = await jobs.running()
    await jobs.cancel(job_id)
    moved = await jobs.finish(job_id, epoch, state)
    assert moved is not None
    assert moved.state is state


async def test_a_cancelled_job_makes_no_children(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    await jobs.cancel(job_id)
    assert await jobs.fan_out(job_id, epoch, 3) == []
    assert len(await jobs.fetch("SELECT id FROM job")) == 1


async def test_a_tree_is_cancelled_whole(jobs: Jobs) -> None:
    root, [queued, running, done, waiting] = await jobs.parent(4)
    [held] = await jobs.claim(running)
    await jobs.end(done)
    [claimed] = await jobs.claim(waiting)
    grandchildren = await jobs.fan_out(waiting, claimed.epoch, 2)
    assert await jobs.cancel(root) == (True, set())
    assert await jobs.states([root, queued, waiting, *grandchildren]) == {"cancelled"}
    assert await jobs.states([running]) == {"running"}
    assert await jobs.states([done]) == {"succeeded"}
    assert await jobs.heartbeat((running, held.epoch)) == {running: True}
    assert not (await jobs.row(root))["waiting"]


async def test_cancelling_the_last_child_names_the_parent_to_go_on(jobs: Jobs) -> None:
    root, [first, last] = await jobs.parent(2)
    await jobs.end(first)
    assert await jobs.cancel(last) == (True, {root})
    assert await jobs.resume(root) == 1
    assert (await jobs.row(root))["state"] == "queued"


async def test_nothing_is_cancelled_for_another_tenant(jobs: Jobs) -> None:
    [job_id] = await jobs.submit()
    assert await jobs.cancel(job_id, tenant="another") == (False, set())
    assert (await jobs.row(job_id))["state"] == "queued"


async def test_cancelling_twice_is_no_error_while_the_worker_still_runs(jobs: Jobs) -> None:
    job_id, _ = await jobs.running()
    assert await jobs.cancel(job_id) == (True, set())
    assert await jobs.cancel(job_id) == (True, set())


async def test_children_made_while_the_cancellation_waited_are_cancelled_too(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    async with jobs.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        child = new_child(key="one")
        pages = in_pages([child], job_id)()
        await moves.fan_out(connection, job_id, epoch, worker="w", then="run", carry=None, count=1, pages=pages)
        cancelling = asyncio.create_task(jobs.cancel(job_id))
        await jobs.until_blocked(1)
        await transaction.commit()
    assert await cancelling == (True, set())
    assert await jobs.states([job_id, child.id]) == {"cancelled"}
