"""What an engine replies, through the executor: which replies end a job, cost an attempt or rest the topic."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from consumers.completions import Completions
from consumers.executor import Executor, Try
from consumers.held import HeldJobs
from consumers.stages.inference.answering import ModelAnswerer
from consumers.stages.ports import Served
from consumers.transcripts import Transcripts
from infra.engines import admission
from infra.engines.open import open_text_model
from infra.models import of_settings
from infra.postgres.database import Database
from infra.prompts.reader import read_prompts
from infra.settings import GeneratorSettings, PromptSettings
from schemas.kinds.inference import Found
from schemas.retrieval import Passage
from schemas.topics import topic_name
from tests.contract.engine_server import EngineServer, engine_server
from tests.integration.jobs import Jobs
from tests.unit.ports_in_memory import World

TEXT = "한라산의 높이는 1,947미터이다."
TOPIC = topic_name("inference", "generate", "interactive")


class Answering:
    """A worker whose engine is at the other end of a socket."""

    def __init__(self, database: Database, engine: EngineServer) -> None:
        self.jobs = Jobs(database)
        self.engine = engine
        self.model = open_text_model(of_settings(GeneratorSettings(url=engine.url, model="m")))
        ports = World().ports
        ports.answerers = Served({"default": ModelAnswerer(self.model, read_prompts(PromptSettings()))}, "default")
        completions = Completions(database, lambda **_: None, worker="w")
        self.executor = Executor(database, completions, HeldJobs(), ports, Transcripts(database))

    async def ask(self) -> asyncpg.Record:
        """Bring a question to its last stage and run one try of it; returns the row after that."""
        found = Found(passages=[Passage("d", "c", None, TEXT, 0, len(TEXT), 1.0)], timings_ms={})
        [job_id] = await self.jobs.submit(
            kind="inference",
            stage="generate",
            input=json.dumps({"collection": "c", "question": "한라산의 높이는?"}),
        )
        [row] = await self.jobs.claim(job_id)
        row = row._replace(carry=found.model_dump_json())
        await Try(self.executor, row, time.monotonic() + 60).run(lambda: None)
        return await self.jobs.row(job_id)

    @property
    def rests(self) -> bool:
        return self.executor.breakers.is_open(TOPIC)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first refusal is told."""
    monkeypatch.setattr(admission, "PATIENCE_S", 0.0)


@pytest.fixture
async def answering(database: Database) -> AsyncIterator[Answering]:
    async with engine_server() as engine:
        made = Answering(database, engine)
        yield made
        await made.model.close()


def code(row: asyncpg.Record) -> Any:
    return json.loads(row["error"])["code"]


NO_ANSWER = {
    "engine_refused_answer": EngineServer.says(None, refusal="도울 수 없습니다."),
    "engine_reply_empty": EngineServer.answers({"choices": [], "usage": {}}),
    "engine_reply_cut": EngineServer.says("<think>생각만", "length"),
    "engine_refused": EngineServer.answers({"error": {"message": "too long", "code": 400}}),
}
COUNTED = {
    "engine_quota_exceeded": EngineServer.answers({"error": {"message": "why", "code": "insufficient_quota"}}, 429),
    "engine_reply_unreadable": EngineServer.refuses(200, "<html>"),
    "engine_error": EngineServer.answers({"error": {"message": "conflict"}}, 409),
}


@pytest.mark.parametrize("reason", NO_ANSWER)
async def test_a_reply_without_an_answer_ends_its_job_and_holds_up_no_other(answering: Answering, reason: str) -> None:
    answering.engine.reply = NO_ANSWER[reason]
    for _ in range(5):
        row = await answering.ask()
        assert (row["state"], code(row), row["attempt"]) == ("failed", reason, 1)
        assert not answering.rests
    answering.engine.reply = EngineServer.says(f"{TEXT} [1]")
    assert json.loads((await answering.ask())["result"])["answer"] == f"{TEXT} [1]"


@pytest.mark.parametrize("reason", COUNTED)
async def test_what_may_pass_is_tried_again_at_the_cost_of_attempts(answering: Answering, reason: str) -> None:
    answering.engine.reply = COUNTED[reason]
    row = await answering.ask()
    assert (row["state"], code(row), row["attempt"]) == ("retry_wait", reason, 1)
    assert not answering.rests


async def test_an_engine_without_capacity_rests_the_topic_and_costs_no_attempt(answering: Answering) -> None:
    answering.engine.reply = EngineServer.refuses(503, "busy")
    row = await answering.ask()
    assert (row["state"], code(row), row["attempt"]) == ("retry_wait", "engine_overloaded", 0)
    assert answering.rests


async def test_the_result_reports_a_cut_answer_and_dropped_citations(answering: Answering) -> None:
    answering.engine.reply = EngineServer.says("높이는 1,947미터 [1][7] 그리고", "length")
    result = json.loads((await answering.ask())["result"])
    assert (result["finish_reason"], result["citations_dropped"], len(result["citations"])) == ("length", 1, 1)
    assert result["answer"] == "높이는 1,947미터 [1] 그리고"
