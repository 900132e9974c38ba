"""A submitted job reaches its end through relay, topic and worker, on either broker, whatever happens on the way."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from consumers.held import Abort
from infra.postgres.queries import submit
from schemas.kinds.registry import KINDS
from schemas.messages import Summons
from schemas.topics import Lane, topic_name
from tests.integration.house import House
from tests.integration.jobs import new_job
from tests.integration.trial import TRIAL

LEASE_S = 2.5
SLOW = json.dumps({"sleep_s": 60.0, "only_epoch": 1})


async def test_submitted_jobs_succeed_at_the_first_try(house: House) -> None:
    await house.worker()
    ids = await house.submit(200)
    rows = await house.until(ids)
    assert {(row["state"], row["epoch"], row["attempt"]) for row in rows} == {("succeeded", 1, 1)}
    assert await house.jobs.fetch("SELECT id FROM outbox") == []


async def test_what_was_begun_ends_before_everything_is_begun(house: House) -> None:
    ids = await house.submit(100, kind="trial", stage="act", input=json.dumps({"next_after_s": 0.05}))
    await house.worker(concurrency=4)
    rows = await house.until(ids)
    first_end = min(row["finished_at"] for row in rows)
    assert sum(row["started_at"] > first_end for row in rows) > 50


async def test_messages_that_come_three_times_run_each_job_once(house: House) -> None:
    await house.worker()
    new = [new_job(traceparent=f"00-{n:032x}-{n:016x}-01" if n % 2 else None) for n in range(1, 51)]
    async with house.database.unit_of_work() as connection:
        await submit.submit(connection, new)
        for _ in range(2):
            await connection.execute(
                "INSERT INTO outbox (job_id, kind, stage, lane, epoch, traceparent)"
                " SELECT DISTINCT job_id, kind, stage, lane, epoch, traceparent FROM outbox"
            )
    rows = await house.until([job.id for job in new])
    assert {(row["state"], row["epoch"]) for row in rows} == {("succeeded", 1)}
    for row in rows:
        assert await house.jobs.history(row["id"]) == ["running", "succeeded"]


async def test_jobs_wait_out_an_outage_on_their_topic_and_neighbours_run(house: House, tmp_path: Path) -> None:
    worker = await house.worker()
    away = tmp_path / "away"
    away.touch()
    ids = await house.submit(300, kind="trial", stage="act", input=json.dumps({"away_while": str(away)}))
    async with asyncio.timeout(60):
        while not worker.executor.breakers.is_open("welip.trial.act.interactive"):
            await asyncio.sleep(0.01)
    await house.until(await house.submit(50))
    untouched = [row for row in await house.jobs.rows(ids) if row["epoch"] == 0]
    assert len(untouched) > 200
    away.unlink()
    rows = await house.until(ids)
    assert {(row["state"], row["attempt"]) for row in rows} == {("succeeded", 1)}


async def test_an_unreadable_message_is_passed_over_and_its_neighbours_run(house: House) -> None:
    await house.worker()
    strange = {"job_id": str(new_job().id), "kind": "noop", "stage": "run", "epoch": 0, "lane": "interactive"}
    poison = [b"", b"\xff\x00", b"{}", b"null"]
    poison += [json.dumps(strange | more).encode() for more in ({"epoch": 2**40}, {"stage": "\0"}, {"epoch": -1})]
    first = await house.submit(5)
    await house.until(first)
    for body in poison:
        await house.broker.publish(body, topic="welip.noop.run.interactive")
    rows = await house.until(await house.submit(20))
    assert {(row["state"], row["epoch"]) for row in rows} == {("succeeded", 1)}


async def test_a_job_whose_message_was_lost_is_summoned_again(house: House) -> None:
    await house.worker()
    job = new_job()
    async with house.database.unit_of_work() as connection:
        await submit.submit(connection, [job])
        await connection.execute("DELETE FROM outbox")
    [row] = await house.until([job.id])
    assert (row["state"], row["epoch"]) == ("succeeded", 1)


async def test_the_jobs_of_a_worker_that_dies_are_finished_by_another(house: House) -> None:
    doomed = await house.worker()
    ids = await house.submit(5, kind="trial", stage="act", input=SLOW)
    await house.until(ids, {"running"})
    await doomed.die()
    await house.worker()
    rows = await house.until(ids)
    assert {row["state"] for row in rows} == {"succeeded"}
    # A second claim but no second attempt: the death is not charged to them.
    assert {(row["epoch"], row["attempt"]) for row in rows} == {(2, 1)}


async def test_a_stopping_worker_hands_its_jobs_to_the_next_without_charging_an_attempt(house: House) -> None:
    stopping = await house.worker()
    ids = await house.submit(5, kind="trial", stage="act", input=SLOW, max_attempts=1)
    await house.until(ids, {"running"})
    await stopping.stop()
    assert {(row["state"], row["attempt"]) for row in await house.jobs.rows(ids)} == {("queued", 0)}
    await house.worker()
    rows = await house.until(ids)
    assert {(row["state"], row["epoch"], row["attempt"]) for row in rows} == {("succeeded", 2, 1)}


@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_a_claim_that_is_under_way_when_the_worker_stops_is_not_lost(house: House) -> None:
    ids = await house.submit(5)
    async with house.database.unit_of_work() as connection:
        await connection.execute("LOCK TABLE job")
        worker = await house.worker()
        await house.jobs.until_blocked(1, "summoned AS")
        stopping = asyncio.create_task(worker.stop(drain_s=60))
        await asyncio.sleep(0)
    await stopping
    rows = await house.jobs.rows(ids)
    assert {(row["state"], row["epoch"]) for row in rows} == {("succeeded", 1)}


async def test_a_stopping_worker_lets_short_jobs_finish(house: House, tmp_path: Path) -> None:
    stopping = await house.worker()
    lasts = tmp_path / "lasts"
    lasts.touch()
    ids = await house.submit(5, kind="trial", stage="act", input=json.dumps({"while": str(lasts)}))
    await house.until(ids, {"running"})
    stops = asyncio.create_task(stopping.stop(drain_s=60))
    await asyncio.sleep(0)
    lasts.unlink()
    await stops
    rows = await house.jobs.rows(ids)
    assert {(row["state"], row["epoch"]) for row in rows} == {("succeeded", 1)}


async def test_a_stage_that_blocks_the_loop_for_longer_than_a_lease_keeps_its_job(house: House) -> None:
    await house.worker(lease=timedelta(seconds=LEASE_S))
    [job_id] = await house.submit(kind="trial", stage="act", input=json.dumps({"block_s": LEASE_S * 1.6}))
    # In a separate thread: the stage blocks this loop, and everything else in it.
    seen = await asyncio.to_thread(lambda: asyncio.run(_leases(house, job_id)))
    [row] = await house.until([job_id])
    assert (row["state"], row["epoch"]) == ("succeeded", 1)
    assert max(seen) > LEASE_S
    assert all(left > 0 for left in seen.values())


async def _leases(house: House, job_id: UUID) -> dict[float, float]:
    """The seconds left on the job's lease, by seconds since the start, watched until the job ends."""
    connection = await asyncpg.connect(house.postgres.url.get_secret_value())
    look = """
        SELECT state, extract(epoch FROM now() - started_at)::float8 AS ran,
               extract(epoch FROM lease_until - now())::float8 AS left FROM job WHERE id = $1
    """
    seen: dict[float, float] = {}
    try:
        async with asyncio.timeout(60):
            while (row := await connection.fetchrow(look, job_id)) and row["state"] in ("queued", "running"):
                if row["state"] == "running":
                    seen[row["ran"]] = row["left"]
                await asyncio.sleep(0.05)
    finally:
        await connection.close()
    return seen


async def test_a_running_job_hears_of_its_cancellation_within_two_heartbeats(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await house.worker()
    ids = await house.submit(3, input='{"sleep_s": 600}')
    await house.until(ids, {"running"})
    beats, beat = 0, worker._heartbeat._beat
    heard: dict[UUID, int] = {}

    async def counted(*given: Any) -> None:
        nonlocal beats
        beats += 1
        await beat(*given)

    def hears(job_id: UUID, abort: Callable[[Abort], None], why: Abort) -> None:
        heard.setdefault(job_id, beats)
        abort(why)

    monkeypatch.setattr(worker._heartbeat, "_beat", counted)
    for job in worker.held.every():
        job.abort = partial(hears, job.id, job.abort)
    for job_id in ids:
        await house.jobs.cancel(job_id)
    before = beats
    rows = await house.until(ids)
    assert {row["state"] for row in rows} == {"cancelled"}
    assert heard.keys() == set(ids)
    assert max(heard.values()) <= before + 2


async def test_a_fan_out_ends_with_the_sum_of_its_children(house: House) -> None:
    await house.worker()
    [job_id] = await house.submit(kind="trial", stage="act", input='{"children": 40}')
    [row] = await house.until([job_id])
    assert json.loads(row["result"]) == {"children": 40, "failed": ["invalid_input"], "made": 40}


@pytest.fixture
def renamed(trial: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before this version the kind was called `formerly` and its stage `go`."""
    stages = {**TRIAL.stages, "act": replace(TRIAL.stages["act"], aliases=frozenset({"go"}))}
    monkeypatch.setitem(KINDS, "trial", replace(TRIAL, stages=stages, aliases=frozenset({"formerly"})))  # type: ignore[arg-type]


async def test_rows_and_messages_of_former_names_still_run(renamed: None, house: House) -> None:
    old = {"kind": "formerly", "stage": "go"}
    [by_message] = await house.jobs.submit(**old)
    await house.jobs.fetch("DELETE FROM outbox")  # its message is already on the old topic
    summons = Summons(job_id=by_message, epoch=0, lane=Lane.INTERACTIVE, **old)
    await house.broker.connect()
    await house.broker.publish(summons.model_dump_json().encode(), topic=topic_name(**old, lane="interactive"))
    rows = [by_message, *await house.submit(3, **old)]
    await house.worker()
    ended = await house.until(rows)
    assert {(row["state"], row["epoch"], row["kind"]) for row in ended} == {("succeeded", 1, "formerly")}
    assert await house.jobs.fetch("SELECT id FROM dead_letter") == []
