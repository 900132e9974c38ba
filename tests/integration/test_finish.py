"""A try ends: where the job goes, what it keeps, and who may not end it."""

import asyncio
import json
from datetime import timedelta

import pytest

from infra.postgres.queries import moves
from infra.postgres.queries.moves import Move
from schemas.lifecycle import TERMINAL, JobState
from tests.integration.jobs import Jobs

S = JobState


async def test_next_queues_the_next_stage_with_its_message(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running(kind="inference", stage="retrieve")
    moved = await jobs.finish(job_id, epoch, S.QUEUED, stage="generate", carry='{"a": 1}', attempt=0)
    assert moved is not None
    assert moved.state is S.QUEUED
    row = await jobs.row(job_id)
    assert (row["state"], row["stage"], row["carry"], row["attempt"]) == ("queued", "generate", '{"a": 1}', 0)
    assert (row["lease_until"], row["worker"], row["finished_at"]) == (None, None, None)
    assert await jobs.messages(job_id) == [("retrieve", 0), ("generate", 1)]
    [claimed] = await jobs.claim(job_id)
    assert (claimed.epoch, claimed.attempt, claimed.carry) == (2, 1, '{"a": 1}')


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_an_end_is_final_and_sends_no_message(jobs: Jobs, state: JobState) -> None:
    job_id, epoch = await jobs.running()
    result = '{"answer": 42}' if state is S.SUCCEEDED else None
    error = '{"code": "x"}' if state is S.FAILED else None
    assert await jobs.finish(job_id, epoch, state, result=result, error=error) is not None
    row = await jobs.row(job_id)
    assert (row["state"], row["result"], row["error"]) == (state, result, error)
    assert row["finished_at"] >= row["started_at"]
    assert row["lease_until"] is None
    assert await jobs.messages(job_id) == [("run", 0)]
    for other in S:
        assert await jobs.finish(job_id, epoch, other) is None
    assert await jobs.claim(job_id) == []
    assert await jobs.cancel(job_id) == (False, set())
    assert (await jobs.row(job_id))["state"] == state


async def test_a_retry_waits_in_postgres_and_sends_no_message(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    await jobs.finish(job_id, epoch, S.RETRY_WAIT, error='{"code": "away"}', delay_s=30.0)
    [row] = await jobs.fetch("SELECT state, attempt, error, due_at - now() AS wait FROM job")
    assert (row["state"], row["attempt"], row["error"]) == ("retry_wait", 1, '{"code": "away"}')
    assert timedelta(seconds=25) < row["wait"] <= timedelta(seconds=30)
    assert await jobs.messages(job_id) == [("run", 0)]
    [_, event] = await jobs.fetch("SELECT data FROM job_event ORDER BY id")
    told = json.loads(event["data"])
    assert told == {"state": "retry_wait", "stage": "run", "attempt": 1, "error": {"code": "away"}}


async def test_a_snooze_gives_the_attempt_back(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    await jobs.finish(job_id, epoch, S.QUEUED, attempt=0)
    row = await jobs.row(job_id)
    assert (row["state"], row["attempt"], row["epoch"]) == ("queued", 0, 1)
    assert await jobs.messages(job_id) == [("run", 0), ("run", 1)]


@pytest.mark.parametrize("state", list(S))
async def test_a_stale_worker_cannot_finish_the_job(jobs: Jobs, state: JobState) -> None:
    job_id, old = await jobs.running()
    await jobs.finish(job_id, old, S.QUEUED)
    [row] = await jobs.claim(job_id)
    assert await jobs.finish(job_id, old, state, result='{"stale": true}') is None
    assert await jobs.fan_out(job_id, old, 2) == []
    after = await jobs.row(job_id)
    assert (after["state"], after["epoch"], after["result"]) == ("running", row.epoch, None)
    assert await jobs.finish(job_id, row.epoch, S.SUCCEEDED) is not None


async def test_two_ends_of_one_try_count_once(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    moved = await asyncio.gather(*(jobs.finish(job_id, epoch, S.SUCCEEDED, result=str(n)) for n in range(8)))
    assert sum(m is not None for m in moved) == 1
    assert await jobs.history(job_id) == ["running", "succeeded"]


async def test_a_group_records_each_of_its_members(jobs: Jobs) -> None:
    held = [await jobs.running() for _ in range(4)]
    group = [Move(job_id, epoch, S.SUCCEEDED, result=str(n)) for n, (job_id, epoch) in enumerate(held)]
    group[2] = Move(held[2][0], 99, S.SUCCEEDED)
    async with jobs.database.connection() as connection:
        moved = await moves.finish(connection, group[::-1], worker="w")
    assert [m is not None for m in moved] == [True, False, True, True]
    assert [row["result"] for row in await jobs.rows([h[0] for h in held])] == ["0", "1", None, "3"]


async def test_any_string_survives_in_a_result(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    text = json.dumps({"text": "한라산 \x00 \ud800 🏔"})
    await jobs.finish(job_id, epoch, S.SUCCEEDED, result=text)
    assert (await jobs.row(job_id))["result"] == text
