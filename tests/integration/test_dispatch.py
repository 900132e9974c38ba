"""Bulk work is held in Postgres and summoned a window at a time: in turns, within limits, nothing lost or doubled."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from infra.kafka.broker import kafka_broker
from infra.kafka.embedded import EmbeddedBroker
from infra.postgres.database import Database
from infra.postgres.queries import dispatch, rescue, steering, submit
from infra.postgres.queries.dispatch import RELEASE, SHARES
from infra.postgres.queries.submit import STRAIGHT
from infra.settings import KafkaSettings, RelaySettings
from producers.dispatcher import Dispatcher
from producers.relay import Relay
from producers.releases import Limits, Releases
from schemas.lifecycle import JobState
from tests.integration.house import House
from tests.integration.jobs import Jobs, new_job

S = JobState
WINDOW = 8
TOLD = {"by": "laptop", "reason": None}

FLOOD = """
INSERT INTO job (id, tenant, kind, stage, lane, max_attempts, input, parent, key, summoned_at)
SELECT uuidv7(), $1, 'noop', 'run', 'bulk', 3, '{}', $2, n::text, NULL FROM generate_series(1, $3::int) AS n
"""


def dispatcher(jobs: Jobs, window: int = WINDOW) -> Dispatcher:
    return Dispatcher(jobs.database, lambda: None, window=window)


async def parent(jobs: Jobs, children: int, *, tenant: str = "default") -> tuple[UUID, list[UUID]]:
    """A job that waits for so many children in the lane bulk."""
    job_id, epoch = await jobs.running(tenant=tenant)
    return job_id, await jobs.fan_out(job_id, epoch, children, lane="bulk", tenant=tenant)


async def summoned(jobs: Jobs) -> list[UUID]:
    """The jobs whose messages are in the outbox, in order; the messages are taken out, as a relay does."""
    rows = await jobs.fetch("DELETE FROM outbox RETURNING id, job_id")
    return [row["job_id"] for row in sorted(rows, key=lambda row: row["id"])]


async def steer(jobs: Jobs, how: Any, *arguments: Any, tenant: str = "default") -> None:
    async with jobs.database.unit_of_work() as connection:
        await how(connection, arguments[0], tenant, *arguments[1:], TOLD)


async def test_children_in_bulk_are_held_and_released_as_workers_claim(jobs: Jobs) -> None:
    _, children = await parent(jobs, 20)
    await summoned(jobs)
    making = dispatcher(jobs)
    assert await making.round() == WINDOW
    first = await summoned(jobs)
    assert first == children[:WINDOW]
    assert await making.round() == 0
    assert len(await jobs.claim(*first[:3])) == 3
    assert await making.round() == 3
    assert await summoned(jobs) == children[WINDOW : WINDOW + 3]
    assert len(await jobs.fetch("SELECT FROM job WHERE summoned_at IS NULL")) == 20 - WINDOW - 3


async def test_nothing_is_said_to_be_held_when_nothing_is(jobs: Jobs) -> None:
    await jobs.submit(3, lane="bulk")
    assert await dispatcher(jobs).round() is None


async def test_interactive_work_is_summoned_at_once_whatever_is_held(jobs: Jobs) -> None:
    await parent(jobs, 200)
    await summoned(jobs)
    ids = await jobs.submit(100)
    assert await summoned(jobs) == ids


async def test_submitted_bulk_work_is_summoned_at_once_until_much_of_it_is_queued(jobs: Jobs) -> None:
    ids = [id for _ in range(STRAIGHT + 5) for id in await jobs.submit(lane="bulk")]
    assert await summoned(jobs) == ids[:STRAIGHT]
    await jobs.end(ids[0])
    [late] = await jobs.submit(lane="bulk")  # 68 are queued
    assert await summoned(jobs) == []
    assert await dispatcher(jobs, STRAIGHT + 1).round() == 2
    assert await summoned(jobs) == ids[STRAIGHT : STRAIGHT + 2]
    assert (await jobs.row(late))["summoned_at"] is None


async def test_a_flood_does_not_delay_another_tenants_work(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.windows.WIDEST", WINDOW)
    flood, _ = await parent(jobs, 0, tenant="a")
    await jobs.fetch(FLOOD, "a", flood, 50_000)
    making = dispatcher(jobs)
    await making.round()
    await jobs.claim(*await summoned(jobs))
    _, wanted = await parent(jobs, 100, tenant="b")
    before: list[UUID] = []
    while not set(wanted) <= set(before):
        assert await making.round()
        now = await summoned(jobs)
        before += now
        await jobs.claim(*now)
    assert abs(len(before) - 200) <= WINDOW
    half = Counter(id in set(wanted) for id in before[:100])
    assert abs(half[True] - half[False]) <= WINDOW


async def test_what_is_released_in_one_round_alternates_between_those_who_take_turns(jobs: Jobs) -> None:
    _, first = await parent(jobs, 10, tenant="a")
    _, second = await parent(jobs, 10, tenant="b")
    await summoned(jobs)
    assert await dispatcher(jobs).round() == WINDOW
    assert await summoned(jobs) == [id for pair in zip(first, second, strict=True) for id in pair][:WINDOW]


async def test_weights_divide_what_a_tenant_gets(jobs: Jobs) -> None:
    light, _ = await parent(jobs, 100)
    heavy, _ = await parent(jobs, 100)
    await summoned(jobs)
    await steer(jobs, steering.steer, heavy, {"weight": 3})
    making = dispatcher(jobs, 40)
    assert await making.round() == 40
    found = Counter(row["parent"] for row in await jobs.rows(await summoned(jobs)))
    assert found.keys() == {heavy, light}
    assert abs(found[heavy] - 30) <= 1


async def test_no_more_than_the_limit_of_a_parent_are_on_their_way(jobs: Jobs) -> None:
    limited, _ = await parent(jobs, 50)
    await steer(jobs, steering.steer, limited, {"at_once": 5})
    await summoned(jobs)
    making = dispatcher(jobs, 40)
    assert await making.round() == 5
    first = await summoned(jobs)
    claimed = await jobs.claim(*first)
    assert await making.round() == 0
    await jobs.finish(first[0], claimed[0].epoch, S.SUCCEEDED)
    await jobs.finish(first[1], claimed[1].epoch, S.RETRY_WAIT)
    assert await making.round() == 2
    async with jobs.database.unit_of_work() as connection:
        assert await rescue.queue_due(connection, 100) == 1
    await summoned(jobs)
    assert await making.round() == 0  # the repeated one waits for its turn, too
    await steer(jobs, steering.steer, limited, {"at_once": None})
    assert await making.round() == 38


async def test_no_more_than_the_limit_of_a_tenant_are_on_their_way(jobs: Jobs) -> None:
    async with jobs.database.connection() as connection:
        await submit.submit(connection, [new_job(lane="bulk") for _ in range(3)], straight=0)
    await parent(jobs, 10)
    await parent(jobs, 10, tenant="another")
    await summoned(jobs)
    making = Dispatcher(jobs.database, lambda: None, window=40, limits=Limits(tenant=4))
    assert await making.round() == 8
    await jobs.claim(*await summoned(jobs))
    assert await making.round() == 0
    await jobs.fetch(
        "UPDATE job SET state = 'succeeded', lease_until = NULL WHERE tenant = 'another' AND state = 'running'"
    )
    assert await making.round() == 4
    assert {row["tenant"] for row in await jobs.rows(await summoned(jobs))} == {"another"}


async def test_of_a_tenants_jobs_with_one_key_one_is_on_its_way(jobs: Jobs) -> None:
    ids = await jobs.submit(3, lane="bulk", concurrency_key="crawler")
    [free] = await jobs.submit(lane="bulk", concurrency_key="another")
    assert await summoned(jobs) == []
    making = dispatcher(jobs)
    assert await making.round() == 2
    assert sorted(await summoned(jobs)) == sorted([ids[0], free])
    [claimed] = await jobs.claim(ids[0])
    assert await making.round() == 0
    await jobs.finish(ids[0], claimed.epoch, S.RETRY_WAIT)
    assert await making.round() == 1
    assert await summoned(jobs) == [ids[1]]
    async with jobs.database.unit_of_work() as connection:
        assert await rescue.queue_due(connection, 100) == 1
    assert await making.round() == 0
    await jobs.end(ids[1])
    assert await making.round() == 1
    assert await summoned(jobs) == [ids[0]]


async def test_a_paused_parent_begins_nothing_and_what_runs_ends(jobs: Jobs) -> None:
    root, children = await parent(jobs, 20)
    await summoned(jobs)
    making = dispatcher(jobs)
    await making.round()
    first = await summoned(jobs)
    [running] = await jobs.claim(first[0])
    await steer(jobs, steering.pause, root)
    assert await jobs.claim(*first[1:]) == []  # their messages are out, and find nothing
    assert await making.round() == 0
    assert await jobs.finish(running.id, running.epoch, S.QUEUED, stage="later", attempt=0)
    assert await jobs.messages(running.id) == [("later", 1)]
    await steer(jobs, steering.resume, root)
    assert await making.round()
    again = await summoned(jobs)
    assert again == [running.id, *children[1 : len(again)]]
    told = await jobs.fetch("SELECT type, data->>'by' AS by FROM job_event WHERE job_id = $1 ORDER BY id", root)
    assert [(row["type"], row["by"]) for row in told][-2:] == [("paused", "laptop"), ("resumed", "laptop")]


async def test_a_retry_of_a_paused_parents_child_waits_for_it(jobs: Jobs) -> None:
    root, [child, *_] = await parent(jobs, 1)
    await dispatcher(jobs).round()
    [claimed] = await jobs.claim(child)
    await jobs.finish(child, claimed.epoch, S.RETRY_WAIT)
    await steer(jobs, steering.pause, root)
    await summoned(jobs)
    async with jobs.database.unit_of_work() as connection:
        assert await rescue.queue_due(connection, 100) == 1
    assert await dispatcher(jobs).round() == 0
    await steer(jobs, steering.resume, root)
    assert await dispatcher(jobs).round() == 1
    assert await summoned(jobs) == [child]


async def test_children_that_a_paused_parent_makes_are_held(jobs: Jobs) -> None:
    root, epoch = await jobs.running()
    await steer(jobs, steering.pause, root)
    await jobs.fan_out(root, epoch, 3, lane="bulk")
    assert await dispatcher(jobs).round() == 0
    assert await jobs.fetch("SELECT FROM outbox WHERE job_id <> $1", root) == []


async def test_pausing_twice_is_pausing_once_and_a_job_that_ended_is_left_alone(jobs: Jobs) -> None:
    root, _ = await parent(jobs, 1)
    await steer(jobs, steering.pause, root)
    since = (await jobs.row(root))["paused_at"]
    await steer(jobs, steering.pause, root)
    await steer(jobs, steering.resume, root, tenant="another")
    assert (await jobs.row(root))["paused_at"] == since
    await jobs.cancel(root)
    await steer(jobs, steering.resume, root)
    await steer(jobs, steering.steer, root, {"weight": 9})
    row = await jobs.row(root)
    assert (row["paused_at"], row["weight"]) == (since, 1)
    assert len(await jobs.fetch("SELECT FROM job_event WHERE job_id = $1 AND type = 'paused'", root)) == 1


async def test_a_pause_waits_for_a_release_that_is_under_way(jobs: Jobs) -> None:
    root, children = await parent(jobs, 4)
    async with jobs.database.unit_of_work() as connection:
        assert await dispatch.lead(connection)
        shares = await dispatch.shares(connection, 100)
        pausing = asyncio.create_task(steer(jobs, steering.pause, root))
        await jobs.until_blocked(1, "pg_advisory_xact_lock")
        await dispatch.release(connection, Releases(WINDOW).next(shares, datetime.now(UTC)))
    await pausing
    assert await jobs.claim(*children) == []


async def test_a_cancelled_parents_held_children_end_and_are_never_released(jobs: Jobs) -> None:
    root, children = await parent(jobs, 20)
    await summoned(jobs)
    assert await jobs.cancel(root) == (True, set())
    assert await jobs.states(children) == {"cancelled"}
    assert await dispatcher(jobs).round() is None
    assert await summoned(jobs) == []


async def test_a_dispatcher_that_dies_before_its_commit_releases_nothing(jobs: Jobs) -> None:
    _, children = await parent(jobs, 4)
    await summoned(jobs)
    async with jobs.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert await dispatch.lead(connection)
        shares = await dispatch.shares(connection, 100)
        assert await dispatch.release(connection, Releases(WINDOW).next(shares, datetime.now(UTC))) == 4
        await transaction.rollback()
    assert await summoned(jobs) == []
    assert await dispatcher(jobs).round() == 4
    assert await summoned(jobs) == children


async def test_dispatchers_side_by_side_release_each_job_once(jobs: Jobs) -> None:
    _, children = await parent(jobs, 100)
    await summoned(jobs)
    several = [dispatcher(jobs) for _ in range(4)]
    found: list[UUID] = []
    while len(found) < len(children):
        await asyncio.gather(*(one.round() for one in several))
        now = await summoned(jobs)
        found += now
        assert len(await jobs.claim(*now)) == len(now)
    assert sorted(found) == sorted(children)
    assert await dispatcher(jobs).round() is None


async def test_held_work_is_not_taken_for_lost(jobs: Jobs) -> None:
    await parent(jobs, 200)
    await dispatcher(jobs).round()
    released = set(await summoned(jobs))
    await jobs.fetch(
        "UPDATE job SET due_at = now() - interval '1 day', created_at = now() - interval '1 day',"
        " summoned_at = summoned_at - interval '1 day' WHERE state = 'queued'"
    )
    async with jobs.database.unit_of_work() as connection:
        assert await rescue.summon_again(connection, 500, unclaimed_s=30) == WINDOW
    assert set(await summoned(jobs)) <= released
    async with jobs.database.unit_of_work() as connection:
        assert await rescue.summon_all(connection, 500, before=datetime.now(UTC) + timedelta(hours=1)) == WINDOW


async def test_a_release_that_goes_unanswered_is_repeated_as_soon_as_any_other(jobs: Jobs) -> None:
    _, [child] = await parent(jobs, 1)
    await jobs.fetch("UPDATE job SET due_at = now() - interval '1 day' WHERE id = $1", child)
    await dispatcher(jobs).round()
    row = await jobs.row(child)
    assert row["due_at"] == row["summoned_at"]


async def test_who_waits_is_found_in_the_index_however_full_the_table_is(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO job (id, tenant, kind, stage, lane, state, max_attempts, input)"
            " SELECT uuidv7(), 'default', 'noop', 'run', 'bulk', 'succeeded', 5, '{}' FROM generate_series(1, 20000)"
        )
        await connection.execute("ANALYZE job")  # it sees no queued jobs
        await connection.execute(FLOOD, "default", None, 20_000)
        ones: list[Any] = [["noop"], ["run"], [""], ["default"], [dispatch.NO_PARENT], [""], [10]]
        for statement, arguments in ((SHARES, [100]), (RELEASE, ones)):
            plan = "\n".join(row["QUERY PLAN"] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
            reads = [line.strip() for line in plan.splitlines() if " on job" in line and "Scan" in line]
            assert reads
            assert all("job_bulk" in one or "job_pkey" in one or "job_children" in one for one in reads), plan


async def test_a_dispatcher_that_rests_is_woken_by_what_is_held_and_hurried_by_what_comes(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("FIRST_S", "LEAST_S", "STANDBY_S", "IDLE_S"):
        monkeypatch.setattr(f"producers.dispatcher.{pause}", 3600.0)
    resting = dispatcher(jobs, 10)
    running = asyncio.create_task(resting.run())
    try:
        async with asyncio.timeout(120):
            await parent(jobs, 15)
            resting.wake()
            while len(first := await summoned(jobs)) < 10:
                await asyncio.sleep(0.01)
            await jobs.claim(*first)
            resting.hurry()
            while len(await summoned(jobs)) < 5:
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_release_that_takes_long_does_not_put_off_the_next_one(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    release = dispatch.release

    async def slow(*arguments: Any) -> int:
        clock.now += 3600
        return await release(*arguments)

    monkeypatch.setattr("producers.dispatcher.time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(dispatch, "release", slow)
    _, children = await parent(jobs, 3 * WINDOW)
    running = asyncio.create_task(dispatcher(jobs).run())
    left = set(children)
    try:
        async with asyncio.timeout(120):
            while left:
                claimed = await summoned(jobs)
                await jobs.claim(*claimed)
                left -= set(claimed)
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_relay_that_goes_to_sleep_wakes_the_dispatcher(jobs: Jobs, embedded_broker: EmbeddedBroker) -> None:
    kafka = KafkaSettings(url=embedded_broker.url, embedded=True)
    broker = kafka_broker(kafka, client_id="relay")
    await broker.start()
    woken = asyncio.Event()
    settings = RelaySettings(poll=timedelta(hours=1))
    relay = Relay(jobs.database, broker, settings, kafka, wake_dispatcher=woken.set)
    running = asyncio.create_task(relay.run())
    try:
        async with asyncio.timeout(60):
            await parent(jobs, 3)
            relay.wake()
            await woken.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await broker.stop()


@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_a_large_fan_out_is_done_through_the_window(house: House) -> None:
    await house.worker(shared_slots=True)
    root, children = await parent(house.jobs, 500)
    house.agents.relay.wake()
    rows = await house.until(children)
    assert {(row["state"], row["epoch"]) for row in rows} == {("succeeded", 1)}
    await house.until([root])
