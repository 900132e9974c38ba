"""Parents go on when their last child has ended, with few looks at them, whichever workers their children end on."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from consumers.completions import Completions
from infra.postgres.queries import moves
from infra.postgres.queries.moves import Looked, Move
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs


def worker(jobs: Jobs) -> Completions:
    return Completions(jobs.database, lambda **_: None, worker="w")


async def end_one_by_one(jobs: Jobs, completions: Completions, children: Sequence[UUID]) -> None:
    for row in await jobs.claim(*children):
        assert await completions.record(Move(row.id, row.epoch, JobState.SUCCEEDED)) is not None


async def until_queued(jobs: Jobs, root: UUID) -> None:
    async with asyncio.timeout(60):
        while (await jobs.row(root))["state"] != "queued":
            await asyncio.sleep(0.01)


async def test_a_parent_is_not_looked_at_for_each_of_its_children(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Looked] = []
    look = moves.resume_parents

    async def counted(*given: object) -> Looked:
        looks.append(await look(*given))  # type: ignore[arg-type]
        return looks[-1]

    monkeypatch.setattr(moves, "resume_parents", counted)
    monkeypatch.setattr("consumers.fan_in.LATER_S", 3_600)
    completions = worker(jobs)
    root, children = await jobs.parent(200)
    await end_one_by_one(jobs, completions, children[:1])
    await completions.close()  # it has looked
    await end_one_by_one(jobs, completions, children[1:150])
    assert looks == [Looked(0, {root: children[-1]})], "the last one lives longest"
    await end_one_by_one(jobs, completions, children[150:])
    await completions.close()
    assert sum(one.moved for one in looks) == 1
    assert (await jobs.row(root))["state"] == "queued"


async def test_workers_that_each_saw_a_child_of_the_other_alive_leave_no_parent_waiting(jobs: Jobs) -> None:
    first, second = worker(jobs), worker(jobs)
    root, children = await jobs.parent(4)
    ones, others = children[:2], children[2:]
    await end_one_by_one(jobs, first, ones[:1])
    await first.close()  # it has looked, and saw the last one of the second alive
    await end_one_by_one(jobs, second, others)
    await second.close()  # it has looked, and saw the last one of the first alive
    await end_one_by_one(jobs, first, ones[1:])
    await until_queued(jobs, root)
    assert (await jobs.history(root)).count("queued") == 1
    for one in (first, second):
        await one.close()


async def test_a_worker_that_closes_leaves_no_look_to_be_made(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.fan_in.LATER_S", 3_600)
    first, second = worker(jobs), worker(jobs)
    root, children = await jobs.parent(2)
    await end_one_by_one(jobs, first, children[:1])
    await end_one_by_one(jobs, second, children[1:])
    for one in (first, second):
        await one.close()
    assert (await jobs.row(root))["state"] == "queued"
