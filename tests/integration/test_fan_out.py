"""A parent waits for its children without a worker and without a counter, and continues exactly once."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from consumers.completions import Completions
from consumers.fan_out import Wait
from consumers.stages.ports import ChildSummary
from infra.postgres.children import PostgresChildren
from infra.postgres.queries import moves, steering
from infra.postgres.queries.moves import Move
from infra.postgres.queries.submit import NewJob
from producers.rescue import Rescuer
from schemas.lifecycle import JobState
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs, in_pages, new_child

S = JobState


async def test_a_fan_out_makes_children_and_lets_the_parent_wait(jobs: Jobs) -> None:
    root, epoch = await jobs.running()
    children = await jobs.fan_out(root, epoch, 3, then="later")
    parent = await jobs.row(root)
    assert (parent["state"], parent["waiting"], parent["stage"], parent["epoch"]) == ("running", True, "later", 2)
    assert (parent["lease_until"], parent["worker"], parent["carry"]) == (None, None, '{"of": "x"}')
    assert (parent["attempt"], parent["progress_total"], parent["rounds"]) == (0, 3, 1)
    for number, row in enumerate(await jobs.rows(children)):
        assert (row["parent"], row["state"], row["round"], row["key"]) == (root, "queued", 1, str(number))
        assert await jobs.messages(row["id"]) == [("run", 0)]


@pytest.mark.parametrize("owners", [None, 7])
async def test_a_fan_out_limits_its_children_unless_the_owner_did(jobs: Jobs, owners: int | None) -> None:
    root, epoch = await jobs.running()
    if owners is not None:
        async with jobs.database.connection() as connection:
            await steering.steer(connection, root, (await jobs.row(root))["tenant"], {"at_once": owners}, {})
    assert await jobs.wait_for(root, epoch, [new_child(key="0")], then="run", carry=None, at_once=2)
    assert (await jobs.row(root))["at_once"] == (owners or 2)


async def test_a_waiting_parent_is_out_of_reach_of_its_old_worker(jobs: Jobs) -> None:
    root, epoch = await jobs.running()
    await jobs.fan_out(root, epoch, 1)
    assert await jobs.fan_out(root, epoch, 1) == []
    assert await jobs.heartbeat((root, epoch)) == {}
    assert await jobs.heartbeat((root, epoch)) == {}
    assert await jobs.finish(root, epoch, S.SUCCEEDED) is None
    assert await jobs.finish(root, epoch + 1, S.SUCCEEDED) is None


async def test_the_parent_continues_when_the_last_child_has_ended(jobs: Jobs) -> None:
    root, [first, second] = await jobs.parent(2)
    await jobs.end(first)
    assert await jobs.resume(root) == 0
    await jobs.end(second)
    assert await jobs.resume(root) == 1
    row = await jobs.row(root)
    assert (row["state"], row["waiting"], row["epoch"]) == ("queued", False, 2)
    assert await jobs.messages(root) == [("run", 0), ("run", 2)]
    assert await jobs.resume(root) == 0
    [claimed] = await jobs.claim(root)
    assert (claimed.epoch, claimed.attempt, claimed.carry) == (3, 1, '{"of": "x"}')


@pytest.mark.parametrize("state", [S.FAILED, S.CANCELLED])
async def test_a_child_that_does_not_succeed_still_lets_the_parent_go_on(jobs: Jobs, state: JobState) -> None:
    root, [child] = await jobs.parent(1)
    await jobs.end(child, state)
    assert await jobs.resume(root) == 1


@pytest.mark.parametrize("state", [S.QUEUED, S.RETRY_WAIT])
async def test_a_child_on_its_way_holds_the_parent(jobs: Jobs, state: JobState) -> None:
    root, [child] = await jobs.parent(1)
    await jobs.end(child, state)
    assert await jobs.resume(root) == 0


async def test_children_that_end_at_the_same_time_resume_the_parent_once(jobs: Jobs) -> None:
    woken: list[None] = []
    workers = [Completions(jobs.database, lambda **_: woken.append(None), worker="w") for _ in range(2)]
    for _ in range(20):
        root, children = await jobs.parent(2)
        rows = await jobs.claim(*children)
        ends = [worker.record(Move(row.id, row.epoch, S.SUCCEEDED)) for worker, row in zip(workers, rows, strict=True)]
        assert None not in await asyncio.gather(*ends)
        for worker in workers:
            await worker.close()
        assert (await jobs.row(root))["state"] == "queued"
        assert (await jobs.history(root)).count("queued") == 1
        assert await jobs.messages(root) == [("run", 0), ("run", 2)]
    assert len(woken) == 20


async def test_many_wakers_resume_a_parent_once(jobs: Jobs) -> None:
    root, [child] = await jobs.parent(1)
    await jobs.end(child)
    assert sum(await asyncio.gather(*(jobs.resume(root) for _ in range(12)))) == 1
    assert len(await jobs.messages(root)) == 2


async def test_thousands_of_children_come_back_in_the_order_they_were_made(jobs: Jobs) -> None:
    root, children = await jobs.parent(2_500)
    assert len(await jobs.fetch("SELECT id FROM outbox WHERE job_id <> $1", root)) == 2_500
    rows = await jobs.claim(*children)
    group = [Move(row.id, row.epoch, S.SUCCEEDED, result=row.input) for row in rows]
    async with jobs.database.connection() as connection:
        await moves.finish(connection, group, worker="w")
    assert await jobs.resume(root) == 1
    found = await summaries(jobs, root)
    assert [(child.key, child.result) for child in found] == [(str(n), {"steps": n % 100 + 1}) for n in range(2_500)]


async def summaries(jobs: Jobs, root: UUID, round: int | None = None) -> list[ChildSummary]:
    return [child async for child in PostgresChildren(jobs.database, ChildSummary).results(root, round)]


async def test_the_children_of_one_fan_out_are_not_taken_for_the_next_ones(jobs: Jobs) -> None:
    root, [first] = await jobs.parent(1)
    await jobs.end(first, S.FAILED)
    await jobs.resume(root)
    [row] = await jobs.claim(root)
    assert row.rounds == 1
    second, third = await jobs.fan_out(root, row.epoch, 2)  # the same keys again
    await jobs.end(second)
    await jobs.cancel(third)
    last = await summaries(jobs, root)
    assert [(child.key, child.kind, child.round, child.state) for child in last] == [
        ("0", "noop", 2, S.SUCCEEDED),
        ("1", "noop", 2, S.CANCELLED),
    ]
    assert last == await summaries(jobs, root, 2)
    assert [(child.key, child.round, child.state) for child in await summaries(jobs, root, 1)] == [("0", 1, S.FAILED)]
    await jobs.resume(root)
    [row] = await jobs.claim(root)
    await jobs.fan_out(root, row.epoch, 0)
    assert await summaries(jobs, root) == [], "a fan-out of nothing has no children, whatever the one before had"


async def test_children_of_before_rounds_and_keys_are_found(jobs: Jobs) -> None:
    root, [child] = await jobs.parent(1)
    await jobs.fetch("UPDATE job SET key = NULL, round = DEFAULT, rounds = DEFAULT")
    await jobs.end(child)
    assert [(one.key, one.round) for one in await summaries(jobs, root)] == [(str(child), 1)]


async def test_a_fan_out_of_nothing_goes_straight_on(jobs: Jobs) -> None:
    root, epoch = await jobs.running()
    completions = Completions(jobs.database, lambda **_: None, worker="w")
    assert await completions.fan_out(Wait(root, epoch, "run", None, 0, in_pages([], root)))
    await completions.close()
    assert (await jobs.row(root))["state"] == "queued"


@pytest.mark.parametrize("same", ["id", "key"])
async def test_a_fan_out_that_fails_half_way_makes_nothing(jobs: Jobs, same: str) -> None:
    root, epoch = await jobs.running()
    first = new_child(key="a")
    second = new_child(**{"key": "b", same: getattr(first, same)})
    completions = Completions(jobs.database, lambda **_: None, worker="w")
    with pytest.raises(Exception, match="duplicate key"):
        await completions.fan_out(Wait(root, epoch, "run", None, 2, in_pages([first, second], root)))
    row = await jobs.row(root)
    assert (row["waiting"], row["epoch"], row["rounds"]) == (False, epoch, 0)
    assert len(await jobs.fetch("SELECT id FROM job")) == 1


async def test_the_rescuer_resumes_a_parent_whose_waker_died(jobs: Jobs) -> None:
    root, [child] = await jobs.parent(1)
    await jobs.end(child)
    assert await Rescuer(jobs.database, RESCUE, lambda: None).sweep() == 1
    assert (await jobs.row(root))["state"] == "queued"


async def test_the_rescuer_resumes_the_parent_of_a_child_it_fails(jobs: Jobs) -> None:
    root, epoch = await jobs.running()
    [child] = await jobs.fan_out(root, epoch, 1, max_attempts=1)
    await jobs.claim(child, lease_s=-1)
    rescuer = Rescuer(jobs.database, RESCUE, lambda: None)
    rescuer._sweeps = 1  # waiting parents are not swept in this round
    await rescuer.sweep()
    assert await jobs.states([child]) == {"failed"}
    assert (await jobs.row(root))["state"] == "queued"


async def test_making_children_holds_up_no_heartbeat(jobs: Jobs) -> None:
    root, epoch = await jobs.running()
    other, its_epoch = await jobs.running()
    made, go_on = asyncio.Event(), asyncio.Event()

    async def pages() -> AsyncIterator[list[NewJob]]:
        async for page in in_pages([new_child(key="a")], root)():
            yield page
        made.set()
        await go_on.wait()

    completions = Completions(jobs.database, lambda **_: None, worker="w")
    making = asyncio.create_task(completions.fan_out(Wait(root, epoch, "run", None, 1, pages)))
    await made.wait()
    async with asyncio.timeout(60):
        assert (await jobs.heartbeat((root, epoch), (other, its_epoch))).keys() == {root, other}
    go_on.set()
    assert await making
    assert (await jobs.row(root))["waiting"]


async def test_a_fan_out_whose_job_was_lost_meanwhile_makes_nothing(jobs: Jobs) -> None:
    root, epoch = await jobs.running()

    async def pages() -> AsyncIterator[list[NewJob]]:
        async for page in in_pages([new_child(key="a")], root)():
            yield page
        await jobs.fetch("UPDATE job SET epoch = epoch + 1 WHERE id = $1", root)

    completions = Completions(jobs.database, lambda **_: None, worker="w")
    assert not await completions.fan_out(Wait(root, epoch, "run", None, 1, pages))
    assert len(await jobs.fetch("SELECT id FROM job")) == 1
