"""Texts reach their readers while they are written: in order, once, fenced, and with few statements."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

import consumers.transcripts
from consumers.completions import Completions
from consumers.executor import Executor, Try
from consumers.held import Abort, HeldJobs
from consumers.stages.inference.answering import ModelAnswerer
from consumers.stages.ports import Served
from consumers.transcripts import Transcripts
from infra.engines.open import open_text_model
from infra.models import of_settings
from infra.postgres.database import Database
from infra.postgres.queries import transcripts
from infra.prompts.reader import read_prompts
from infra.settings import GeneratorSettings, PromptSettings
from schemas.errors import DependencyUnavailable
from schemas.kinds.inference import Found
from schemas.lifecycle import JobState
from schemas.retrieval import Passage
from schemas.text import TextOptions
from tests.contract.engine_server import EngineServer, engine_server
from tests.integration.jobs import Jobs
from tests.unit.ports_in_memory import World

TEXT = "한라산의 높이는 1,947미터이다."


class Generating:
    """A worker without a heartbeat, whose engine is at the other end of a socket."""

    def __init__(self, database: Database, engine: EngineServer) -> None:
        self.jobs = Jobs(database)
        self.engine = engine
        self.held = HeldJobs()
        self.model = open_text_model(of_settings(GeneratorSettings(url=engine.url, model="m")))
        ports = World().ports
        ports.answerers = Served({"default": ModelAnswerer(self.model, read_prompts(PromptSettings()))}, "default")
        completions = Completions(database, lambda **_: None, worker="w")
        self.executor = Executor(database, completions, self.held, ports, Transcripts(database))

    async def submit(self, *, stream: bool = True, timeout_s: float | None = None) -> UUID:
        input = {"collection": "c", "question": "한라산의 높이는?", "generate": {"stream": stream}}
        [job_id] = await self.jobs.submit(
            kind="inference", stage="generate", input=json.dumps(input), timeout_s=timeout_s
        )
        return job_id

    async def begin(self, job_id: UUID) -> asyncio.Task[None]:
        """Claim the job and begin its try; the task ends when the try is recorded."""
        found = Found(passages=[Passage("d", "c", None, TEXT, 0, len(TEXT), 1.0)] * 3, timings_ms={})
        [row] = await self.jobs.claim(job_id)
        row = row._replace(carry=found.model_dump_json())
        return asyncio.create_task(Try(self.executor, row, time.monotonic() + 60).run(lambda: None))

    async def told(self, job_id: UUID) -> list[tuple[str, Any]]:
        """The job's events except `running`."""
        rows = await self.jobs.fetch("SELECT type, data FROM job_event WHERE job_id = $1 ORDER BY id", job_id)
        found = [(row["type"], json.loads(row["data"])) for row in rows]
        return [(type, data) for type, data in found if data.get("state") != "running"]


class Endless:
    """An engine that writes until its client is gone; with `whole`, it thinks that long before a whole answer."""

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        async def written() -> AsyncIterator[str]:
            try:
                while True:
                    self.asked.set()
                    if not self._whole:
                        yield f"data: {json.dumps({'choices': [{'delta': {'content': '말 '}}]})}\n\n"
                    else:
                        yield " "  # white space before the JSON, as a proxy sends it to keep a connection open
                    await asyncio.sleep(0.01)
            finally:
                self.left.set()

        return StreamingResponse(written(), media_type="application/json" if self._whole else "text/event-stream")


@pytest.fixture
async def generating(database: Database) -> AsyncIterator[Generating]:
    async with engine_server() as engine:
        made = Generating(database, engine)
        yield made
        await made.model.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.01)


def text_of(events: Sequence[tuple[str, Any]]) -> str:
    """The text as a reader has it in the end; checks that the pieces of each text are numbered without gaps."""
    text = ""
    number = 0
    for type, data in events:
        if type == "stream":
            text, number = "", 0
        elif type == "token":
            assert data["index"] == number
            text, number = text + data["text"], number + 1
    return text


async def test_an_answer_is_streamed_as_it_is_written_before_its_job_ends(generating: Generating) -> None:
    generating.engine.reply = EngineServer.streams("높이는 ", "1,947", "미터이다 [2]", ".")
    job_id = await generating.submit()
    await (await generating.begin(job_id))
    told = await generating.told(job_id)
    assert told[0] == ("stream", {"stage": "generate", "attempt": 1})
    assert {type for type, _ in told[1:-1]} == {"token"}
    assert told[-1][1]["state"] == "succeeded"
    assert text_of(told) == "높이는 1,947미터이다 [2]."
    result = json.loads((await generating.jobs.row(job_id))["result"])
    assert result["answer"] == "높이는 1,947미터이다 [1]."
    assert [citation["streamed_as"] for citation in result["citations"]] == [2]


async def test_nothing_is_streamed_unasked(generating: Generating) -> None:
    generating.engine.reply = EngineServer.says("예 [1]")
    job_id = await generating.submit(stream=False)
    await (await generating.begin(job_id))
    assert [type for type, _ in await generating.told(job_id)] == ["state"]
    assert not generating.engine.bodies[-1].get("stream")
    assert json.loads((await generating.jobs.row(job_id))["result"])["citations"][0]["streamed_as"] is None


@pytest.mark.parametrize(
    "pieces",
    [
        ("<think>속으로 ", "생각한다</think>", "1,947미터"),
        ("속으로 생각한다 ", "끝 </think>", "1,947미터"),  # unannounced thoughts: the text is told again without them
    ],
)
async def test_a_reader_ends_with_the_text_that_holds_without_thoughts(
    generating: Generating, pieces: Sequence[str]
) -> None:
    generating.engine.reply = EngineServer.streams(*pieces)
    job_id = await generating.submit()
    await (await generating.begin(job_id))
    assert text_of(await generating.told(job_id)) == "1,947미터"


async def test_the_next_try_begins_a_new_text(generating: Generating) -> None:
    generating.engine.reply = EngineServer.sends({"choices": [{"delta": {"content": "높이는 "}}]})  # then breaks off
    job_id = await generating.submit()
    await (await generating.begin(job_id))
    assert (await generating.jobs.row(job_id))["state"] == "retry_wait"
    await generating.jobs.fetch("UPDATE job SET state = 'queued' WHERE id = $1", job_id)
    generating.engine.reply = EngineServer.streams("1,947", "미터")
    await (await generating.begin(job_id))
    told = await generating.told(job_id)
    assert text_of(told) == "1,947미터"
    assert [type for type, _ in told].count("stream") == 2


async def test_a_stale_try_adds_nothing(generating: Generating) -> None:
    endless = Endless()
    generating.engine.reply = endless
    job_id = await generating.submit()
    task = await generating.begin(job_id)

    async def streams() -> bool:
        return len(await generating.told(job_id)) > 2

    await until(streams)
    await generating.jobs.fetch("UPDATE job SET epoch = epoch + 1 WHERE id = $1", job_id)
    told = await generating.told(job_id)
    for job in generating.held.every():
        job.abort(Abort.LEASE_LOST)
    await task
    await generating.executor.transcripts.close()
    assert await generating.told(job_id) == told


async def test_what_many_stages_write_at_once_is_one_statement(
    jobs: Jobs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = 0
    tell = transcripts.tell

    async def counted(*args: Any, **named: Any) -> Any:
        nonlocal statements
        statements += 1
        return await tell(*args, **named)

    monkeypatch.setattr(transcripts, "tell", counted)
    shared = Transcripts(database)
    rows = [row for job in await jobs.submit(64) for row in await jobs.claim(job)]
    written = [shared.of(row, lambda why: None) for row in rows]
    for number, transcript in enumerate(written):
        transcript.write(f"{number}")
    await asyncio.gather(*(transcript.settle(f"{number} 끝") for number, transcript in enumerate(written)))
    assert statements == 1
    texts = await jobs.fetch("SELECT job_id, data FROM job_event WHERE type = 'token' ORDER BY id")
    assert {row["job_id"]: json.loads(row["data"])["text"] for row in texts} == {
        row.id: f"{number} 끝" for number, row in enumerate(rows)
    }


async def test_a_statement_that_may_or_may_not_have_been_recorded_doubles_nothing(
    jobs: Jobs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell, failures = transcripts.tell, 2

    async def answered_too_late(*args: Any, **named: Any) -> Any:
        nonlocal failures
        answer = await tell(*args, **named)
        if failures:
            failures -= 1
            raise DependencyUnavailable("the connection broke after the commit")
        return answer

    monkeypatch.setattr(transcripts, "tell", answered_too_late)
    monkeypatch.setattr(consumers.transcripts, "AWAY_S", 0.01)
    [job_id] = await jobs.submit()
    [row] = await jobs.claim(job_id)
    transcript = Transcripts(database).of(row, lambda why: None)
    transcript.write("한라")
    await transcript.settle("한라산")
    rows = await jobs.fetch("SELECT type, data FROM job_event WHERE job_id = $1 ORDER BY id", job_id)
    events = [(row["type"], json.loads(row["data"])) for row in rows]
    assert text_of(events) == "한라산"
    assert [type for type, _ in events].count("token") == 3


async def test_a_text_that_cannot_be_sent_stops_no_other(
    jobs: Jobs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = transcripts.tell

    async def broken_for_one(connection: Any, written: Sequence[transcripts.Written], *, worker: str) -> Any:
        if any("독" in event.data for event in written):
            raise ZeroDivisionError
        return await tell(connection, written, worker=worker)

    monkeypatch.setattr(transcripts, "tell", broken_for_one)
    shared = Transcripts(database)
    texts = ["하나", "독", "둘"]
    rows = [row for job in await jobs.submit(3) for row in await jobs.claim(job)]
    await asyncio.gather(
        *(shared.of(row, lambda why: None).settle(text) for row, text in zip(rows, texts, strict=True))
    )
    for row, text in zip(rows, ["하나", "", "둘"], strict=True):
        told = await jobs.fetch("SELECT type, data FROM job_event WHERE job_id = $1 ORDER BY id", row.id)
        assert text_of([(event["type"], json.loads(event["data"])) for event in told]) == text


async def test_half_a_character_from_an_engine_does_not_stop_the_stream(jobs: Jobs, database: Database) -> None:
    [row] = await jobs.claim(*await jobs.submit())
    transcript = Transcripts(database).of(row, lambda why: None)
    await transcript.settle("가\ud83d나")
    [event] = await jobs.fetch("SELECT data FROM job_event WHERE type = 'token'")
    assert json.loads(event["data"])["text"] == "가\ufffd나"


async def test_events_of_a_job_become_visible_in_the_order_of_their_ids(jobs: Jobs, database: Database) -> None:
    [row] = await jobs.claim(*await jobs.submit())
    transcript = Transcripts(database).of(row, lambda why: None)
    async with database.unit_of_work() as connection:
        await connection.execute("UPDATE job SET progress_done = 1 WHERE id = $1", row.id)
        transcript.write("나중")
        settled = asyncio.create_task(transcript.settle("나중"))
        await jobs.until_blocked(1, "NO KEY UPDATE")
        await connection.execute("INSERT INTO job_event (job_id, type, data) VALUES ($1, 'progress', '{}')", row.id)
    await settled
    rows = await jobs.fetch("SELECT type FROM job_event WHERE job_id = $1 ORDER BY id", row.id)
    assert [event["type"] for event in rows] == ["state", "progress", "stream", "token"]


async def test_a_try_that_ends_can_no_longer_write(jobs: Jobs, database: Database) -> None:
    job_id, epoch = await jobs.running()
    [row] = [row._replace(id=job_id, epoch=epoch) for row in await jobs.claim(*await jobs.submit())]
    transcript = Transcripts(database).of(row, lambda why: None)
    assert await jobs.finish(job_id, epoch, JobState.SUCCEEDED) is not None
    transcript.write("너무 늦게")
    await asyncio.wait_for(transcript.settle("너무 늦게"), 60)
    assert await jobs.fetch("SELECT 1 FROM job_event WHERE type = 'token'") == []


async def test_a_cancelled_stream_is_left_with_the_next_piece_without_a_heartbeat(generating: Generating) -> None:
    endless = Endless()
    generating.engine.reply = endless
    job_id = await generating.submit()
    task = await generating.begin(job_id)
    await endless.asked.wait()
    assert (await generating.jobs.cancel(job_id))[0]
    await asyncio.wait_for(task, 60)
    await asyncio.wait_for(endless.left.wait(), 60)
    assert (await generating.jobs.row(job_id))["state"] == "cancelled"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stage_that_is_cancelled_or_out_of_time_closes_its_connection_to_the_engine(
    generating: Generating, stream: bool
) -> None:
    cancelled, late = Endless(whole=not stream), Endless(whole=not stream)
    generating.engine.reply = cancelled
    task = await generating.begin(await generating.submit(stream=stream))
    await asyncio.wait_for(cancelled.asked.wait(), 60)
    [job] = generating.held.every()
    job.abort(Abort.CANCELLED)
    await task
    await asyncio.wait_for(cancelled.left.wait(), 60)

    generating.engine.reply = late
    job_id = await generating.submit(stream=stream, timeout_s=2)
    await (await generating.begin(job_id))
    await asyncio.wait_for(late.left.wait(), 60)
    assert json.loads((await generating.jobs.row(job_id))["error"])["code"] == "timeout"


async def test_a_stream_that_is_closed_closes_its_connection_to_the_engine(generating: Generating) -> None:
    endless = Endless()
    generating.engine.reply = endless
    async with contextlib.aclosing(generating.model.stream([], TextOptions())) as pieces:
        async for _ in pieces:
            break
    await asyncio.wait_for(endless.left.wait(), 60)
