"""What each outcome of a stage does to its job, on Postgres; only the executor decides that."""

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from consumers.completions import Completions
from consumers.executor import MAX_INLINE_RESULT, Executor, Try
from consumers.held import Abort, HeldJobs
from consumers.stages.ports import Ports
from consumers.transcripts import Transcripts
from infra.files import PublishedFiles
from infra.postgres.database import Database
from schemas.kinds.kind import Backoff
from schemas.kinds.registry import KINDS
from schemas.lifecycle import JobState
from schemas.topics import topic_name
from tests.conftest import execute
from tests.integration.jobs import Jobs
from tests.integration.trial import TRIAL
from tests.unit.ports_in_memory import World

S = JobState


class Bench:
    """Claims jobs and runs their tries, as a summoned worker does."""

    def __init__(self, database: Database) -> None:
        self.jobs = Jobs(database)
        self.world = World()
        self.held = HeldJobs()
        self.completions = Completions(database, lambda **_: None, worker="w")
        ports = self.world.ports
        ports.file_store = PublishedFiles(database, ports.blobs, "w")
        self.executor = Executor(database, self.completions, self.held, ports, Transcripts(database))

    async def submit(self, **input: Any) -> UUID:
        limits = {name: input.pop(name) for name in ("timeout_s", "max_attempts") if name in input}
        [job_id] = await self.jobs.submit(kind="trial", stage="act", input=json.dumps(input), **limits)
        return job_id

    async def begin(self, job_id: UUID) -> asyncio.Task[None]:
        """Claim the job and begin its try; the task ends when the try is recorded."""
        [row] = await self.jobs.claim(job_id)
        return asyncio.create_task(Try(self.executor, row, time.monotonic() + 60).run(lambda: None))

    async def run(self, job_id: UUID) -> asyncpg.Record:
        """Run one try; returns the row once its parent was looked at as well."""
        await (await self.begin(job_id))
        await self.completions.close()
        return await self.jobs.row(job_id)

    async def abort(self, job_id: UUID, why: Abort) -> asyncpg.Record:
        """Begin a try, abort it, and return the row."""
        task = await self.begin(job_id)
        await asyncio.sleep(0)
        [job] = self.held.every()
        job.abort(why)
        await task
        assert len(self.held) == 0
        return await self.jobs.row(job_id)


@pytest.fixture
def bench(trial: None, database: Database) -> Bench:
    return Bench(database)


def code(row: asyncpg.Record) -> str:
    error: dict[str, str] = json.loads(row["error"])
    return error["code"]


async def test_done_ends_the_job_with_its_result(bench: Bench) -> None:
    row = await bench.run(await bench.submit())
    assert (row["state"], json.loads(row["result"])) == ("succeeded", {"attempt": 1, "epoch": 1})
    assert len(bench.held) == 0


async def test_next_starts_the_attempts_of_the_next_stage_anew(bench: Bench) -> None:
    row = await bench.run(await bench.submit(next=True))
    assert (row["state"], row["stage"], row["attempt"], row["carry"]) == ("queued", "sum", 0, '{"made":0}')


async def test_an_engine_without_capacity_says_when_the_job_comes_again(bench: Bench) -> None:
    row = await bench.run(await bench.submit(overloaded_s=500.0))
    assert (row["state"], row["attempt"], code(row)) == ("retry_wait", 0, "engine_overloaded")
    assert timedelta(seconds=490) < row["due_at"] - datetime.now(UTC) <= timedelta(seconds=500)


async def test_a_result_as_large_as_a_row_may_hold_stays_in_it(bench: Bench) -> None:
    row = await bench.run(await bench.submit(letters=MAX_INLINE_RESULT - len('{"text":""}')))
    assert len(row["result"]) == MAX_INLINE_RESULT
    assert bench.world.blobs.data == {}


async def test_a_larger_result_becomes_a_file(bench: Bench) -> None:
    row = await bench.run(await bench.submit(letters=MAX_INLINE_RESULT))
    [file] = await bench.jobs.fetch("SELECT * FROM file")
    assert json.loads(row["result"]) == {"file": f"file_{file['id'].hex}"}
    assert (file["tenant"], file["purpose"], file["filename"]) == ("default", "result", "result.json")
    data = bench.world.blobs.data[file["blob"]]
    assert json.loads(data) == {"text": "x" * MAX_INLINE_RESULT}
    assert file["bytes"] == len(data)


async def test_a_larger_result_of_a_stale_try_is_no_file(bench: Bench) -> None:
    job_id = await bench.submit(letters=MAX_INLINE_RESULT)
    task = await bench.begin(job_id)
    await bench.jobs.fetch("UPDATE job SET epoch = epoch + 1, worker = 'another' WHERE id = $1", job_id)
    await task
    assert await bench.jobs.fetch("SELECT * FROM file") == []
    assert (await bench.jobs.row(job_id))["state"] == "running"


async def test_a_retry_waits_and_counts(bench: Bench) -> None:
    job_id = await bench.submit(retry_until_attempt=3)
    row = await bench.run(job_id)
    assert (row["state"], row["attempt"], code(row)) == ("retry_wait", 1, "timeout")
    await bench.jobs.fetch("UPDATE job SET state = 'queued'")
    assert (await bench.run(job_id))["attempt"] == 2
    await bench.jobs.fetch("UPDATE job SET state = 'queued'")
    row = await bench.run(job_id)
    assert (row["state"], row["attempt"], row["error"]) == ("succeeded", 3, None)


async def test_the_last_attempt_that_asks_for_a_retry_fails(bench: Bench) -> None:
    row = await bench.run(await bench.submit(retry_until_attempt=9, max_attempts=1))
    assert (row["state"], code(row)) == ("failed", "timeout")
    assert json.loads(row["error"])["retryable"] is True  # a new job may succeed


async def test_an_outage_costs_no_attempt_and_says_since_when(bench: Bench) -> None:
    job_id = await bench.submit(away_until_epoch=4, max_attempts=2)
    since = set()
    for _ in range(3):
        row = await bench.run(job_id)
        assert (row["state"], row["attempt"], code(row)) == ("retry_wait", 0, "dependency_unavailable")
        since.add(json.loads(row["error"])["since"])
        await bench.jobs.fetch("UPDATE job SET state = 'queued'")
    assert len(since) == 1
    row = await bench.run(job_id)
    assert (row["state"], row["attempt"], row["error"]) == ("succeeded", 1, None)


async def test_an_outage_that_never_ends_costs_attempts_after_its_limit(bench: Bench) -> None:
    job_id = await bench.submit(away_until_epoch=99, max_attempts=2)
    await bench.run(job_id)
    two_hours_ago = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    error = json.dumps({"code": "dependency_unavailable", "message": "", "retryable": True, "since": two_hours_ago})
    await bench.jobs.fetch("UPDATE job SET state = 'queued', error = $1::json", error)
    row = await bench.run(job_id)
    assert (row["state"], row["attempt"], json.loads(row["error"])["since"]) == ("retry_wait", 1, two_hours_ago)
    await bench.jobs.fetch("UPDATE job SET state = 'queued'")
    row = await bench.run(job_id)
    assert (row["state"], row["attempt"]) == ("failed", 2)
    assert [letter["reason"] for letter in await bench.jobs.fetch("SELECT reason FROM dead_letter")] == [
        "dependency_unavailable"
    ]


async def test_a_job_of_one_attempt_is_not_repeated_for_an_outage(bench: Bench) -> None:
    row = await bench.run(await bench.submit(away_until_epoch=9, max_attempts=1))
    assert (row["state"], code(row)) == ("failed", "dependency_unavailable")


async def test_an_outage_opens_the_breaker_of_its_topic_until_a_try_gets_through(bench: Bench) -> None:
    topic = topic_name("trial", "act", "interactive")
    job_id = await bench.submit(away_until_epoch=2)
    await bench.run(job_id)
    assert bench.executor.breakers.is_open(topic)
    assert not bench.executor.breakers.is_open(topic_name("trial", "act", "bulk"))


async def test_a_snooze_costs_no_attempt(bench: Bench) -> None:
    job_id = await bench.submit(snooze_until_epoch=2, max_attempts=1)
    row = await bench.run(job_id)
    assert (row["state"], row["attempt"]) == ("retry_wait", 0)
    await bench.jobs.fetch("UPDATE job SET state = 'queued'")
    row = await bench.run(job_id)
    assert (row["state"], row["attempt"], row["epoch"]) == ("succeeded", 1, 2)


async def test_an_error_that_no_retry_can_help_fails_at_once(bench: Bench) -> None:
    row = await bench.run(await bench.submit(fail=True))
    assert (row["state"], row["attempt"]) == ("failed", 1)
    told = {"code": "invalid_input", "message": "it was told to fail", "retryable": False}
    assert json.loads(row["error"]) == told


async def test_a_defect_is_retried_and_says_nothing_of_the_input(bench: Bench) -> None:
    row = await bench.run(await bench.submit(defect=True))
    assert (row["state"], code(row)) == ("retry_wait", "internal_error")
    assert "ZeroDivisionError in stage act" in json.loads(row["error"])["message"]


async def test_a_stage_that_runs_too_long_is_retried_then_failed(bench: Bench) -> None:
    job_id = await bench.submit(sleep_s=60.0, timeout_s=0.05, max_attempts=2)
    row = await bench.run(job_id)
    assert (row["state"], code(row)) == ("retry_wait", "timeout")
    await bench.jobs.fetch("UPDATE job SET state = 'queued'")
    row = await bench.run(job_id)
    assert (row["state"], row["attempt"], code(row)) == ("failed", 2, "timeout")


async def test_a_fan_out_waits_for_its_children(bench: Bench) -> None:
    job_id = await bench.submit(children=3)
    row = await bench.run(job_id)
    assert (row["state"], row["waiting"], row["stage"]) == ("running", True, "sum")
    children = [child["id"] for child in await bench.jobs.fetch("SELECT id FROM job WHERE parent = $1", job_id)]
    for child in children:
        await bench.run(child)
    row = await bench.jobs.row(job_id)
    assert (row["state"], row["waiting"]) == ("queued", False)
    assert await bench.jobs.states(children) == {"succeeded", "failed"}


async def test_a_fan_out_without_children_goes_straight_on(bench: Bench) -> None:
    row = await bench.run(await bench.submit(children=0))
    assert (row["state"], row["stage"]) == ("queued", "sum")


async def test_a_fan_out_of_a_cancelled_job_ends_it(bench: Bench) -> None:
    job_id = await bench.submit(children=3)
    task = await bench.begin(job_id)
    await bench.jobs.cancel(job_id)
    await task
    assert await bench.jobs.states([job_id]) <= {"cancelled"}
    assert set(await bench.jobs.history(job_id)) >= {"running", "cancelled"}


async def test_an_aborted_stage_is_cancelled_when_its_owner_asked(bench: Bench) -> None:
    row = await bench.abort(await bench.submit(sleep_s=60.0), Abort.CANCELLED)
    assert (row["state"], row["error"]) == ("cancelled", None)


async def test_a_stopping_worker_hands_the_job_back_without_charging_an_attempt(bench: Bench) -> None:
    job_id = await bench.submit(sleep_s=60.0)
    row = await bench.abort(job_id, Abort.STOPPING)
    assert (row["state"], row["attempt"], row["epoch"]) == ("queued", 0, 1)
    assert await bench.jobs.messages(job_id) == [("act", 0), ("act", 1)]


async def test_a_lost_lease_stops_the_stage_and_records_nothing(bench: Bench) -> None:
    job_id = await bench.submit(sleep_s=60.0)
    row = await bench.abort(job_id, Abort.LEASE_LOST)
    assert (row["state"], row["epoch"]) == ("running", 1)
    assert await bench.jobs.history(job_id) == ["running"]


async def test_progress_is_written_a_few_times_a_second_and_the_last_of_it_always(bench: Bench) -> None:
    row = await bench.run(await bench.submit(reports=500))
    assert (row["progress_done"], row["progress_total"], row["progress_message"]) == (500, 500, "500")
    events = await bench.jobs.fetch("SELECT id FROM job_event WHERE type = 'progress'")
    assert 2 <= len(events) <= 5


async def test_a_result_that_comes_too_late_is_thrown_away(bench: Bench) -> None:
    job_id = await bench.submit(sleep_s=0.05)
    task = await bench.begin(job_id)
    await bench.jobs.fetch("UPDATE job SET epoch = epoch + 1")
    await task
    row = await bench.jobs.row(job_id)
    assert (row["state"], row["epoch"], row["result"]) == ("running", 2, None)


async def test_an_end_is_recorded_although_its_session_is_cut(bench: Bench, database_url: str) -> None:
    job_id = await bench.submit(sleep_s=0.1)
    task = await bench.begin(job_id)
    await execute(
        database_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    await task
    row = await bench.jobs.row(job_id)
    assert (row["state"], row["epoch"]) == ("succeeded", 1)


@pytest.mark.parametrize(
    ("child", "refused"),
    [
        ({"kind": "nobody", "input": {}, "key": "a"}, "child_kind_unknown"),
        ({"kind": "inference", "input": {}, "key": "a"}, "child_kind_not_allowed"),
        ({"kind": "trial", "input": {}, "key": "a", "stage": "sum"}, "child_stage_invalid"),
        ({"kind": "noop", "input": {"steps": "x"}, "key": "a"}, "child_input_invalid"),
        ({"kind": "noop", "input": {}, "key": "b"}, "child_key_repeated"),
        ({"kind": "noop", "input": {}, "key": ""}, "child_key_invalid"),
    ],
)
async def test_a_child_that_is_not_allowed_fails_its_parent_by_name(bench: Bench, child: Any, refused: str) -> None:
    row = await bench.run(await bench.submit(fan_out=[{"kind": "noop", "input": {}, "key": "b"}, child]))
    assert (row["state"], code(row), row["rounds"]) == ("failed", refused, 0)
    assert len(await bench.jobs.fetch("SELECT id FROM job")) == 1


async def test_children_of_another_kind_are_made_and_summed_up(bench: Bench) -> None:
    parts = [{"kind": "noop", "input": {"steps": 2}, "key": "가"}, {"kind": "trial", "input": {}, "key": "b"}]
    job_id = await bench.submit(fan_out=parts, max_attempts=7)
    await bench.run(job_id)
    children = await bench.jobs.fetch("SELECT * FROM job WHERE parent = $1 ORDER BY id", job_id)
    assert [(row["kind"], row["stage"], row["key"], row["max_attempts"]) for row in children] == [
        ("noop", "run", "가", 5),
        ("trial", "act", "b", 7),
    ]
    for row in children:
        await bench.run(row["id"])
    assert await bench.jobs.states([row["id"] for row in children]) == {"succeeded"}
    assert (await bench.jobs.row(job_id))["state"] == "queued"


async def test_many_children_of_an_interactive_job_are_bulk(bench: Bench) -> None:
    for count, lane in ((16, "interactive"), (17, "bulk")):
        parts = [{"kind": "noop", "input": {}, "key": str(n)} for n in range(count)]
        job_id = await bench.submit(fan_out=parts)
        await bench.run(job_id)
        lanes = await bench.jobs.fetch("SELECT DISTINCT lane FROM job WHERE parent = $1", job_id)
        assert [row["lane"] for row in lanes] == [lane]


@pytest.mark.parametrize(
    ("input", "expected"),
    [
        ({"next": True, "to": "nowhere"}, "stage_unknown"),
        ({"next": True, "carry": {"made": "x"}}, "carry_invalid"),
        ({"fan_out": [], "then": "nowhere"}, "stage_unknown"),
        ({"fan_out": [], "carry": {}}, "carry_invalid"),
        ({"answer": None}, "internal_error"),
        ({"answer": "done"}, "internal_error"),
    ],
)
async def test_an_answer_that_leads_nowhere_is_a_failed_try(bench: Bench, input: Any, expected: str) -> None:
    row = await bench.run(await bench.submit(**input))
    assert (row["state"], row["stage"], row["attempt"], code(row)) == ("retry_wait", "act", 1, expected)


async def test_an_input_that_does_not_fit_is_told_with_its_field(bench: Bench) -> None:
    [job_id] = await bench.jobs.submit(input='{"steps": 0}')
    row = await bench.run(job_id)
    assert (row["state"], code(row), json.loads(row["error"])["field"]) == ("failed", "invalid_input", "input.steps")


async def test_a_carry_of_another_version_waits_for_a_worker_that_knows_it(bench: Bench) -> None:
    [job_id] = await bench.jobs.submit(kind="trial", stage="sum", max_attempts=2)
    await bench.jobs.fetch("UPDATE job SET carry = '{\"made\": [1]}'")
    row = await bench.run(job_id)
    assert (row["state"], code(row), json.loads(row["error"])["field"]) == ("retry_wait", "carry_invalid", "carry.made")
    await bench.jobs.fetch("UPDATE job SET state = 'queued'")
    assert (await bench.run(job_id))["state"] == "failed"
    assert [one["reason"] for one in await bench.jobs.fetch("SELECT reason FROM dead_letter")] == ["carry_invalid"]


async def test_a_port_that_the_stage_did_not_declare_or_the_process_did_not_open_fails_the_job_by_name(
    bench: Bench,
) -> None:
    undeclared = await bench.run(await bench.submit(touches="index"))
    bench.executor = replace(bench.executor, ports=Ports())
    unopened = await bench.run(await bench.submit(touches="children"))
    for row, port in ((undeclared, "index"), (unopened, "children")):
        assert (row["state"], row["attempt"], code(row)) == ("failed", 1, "port_not_open")
        assert f"the stage `act` of `trial` uses the port `{port}`" in json.loads(row["error"])["message"]


async def test_a_kind_may_wait_longer_between_tries(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = replace(TRIAL, backoff=Backoff(timedelta(days=1), timedelta(days=1)))
    monkeypatch.setitem(KINDS, "trial", patient)  # type: ignore[arg-type]
    job_id = await bench.submit(defect=True)
    row = await bench.run(job_id)
    assert row["due_at"] - row["started_at"] > timedelta(seconds=301), "a share of a day, and not of a second"
