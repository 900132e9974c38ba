"""A judge behind a real server: faults now and then cost nothing, a server that is away or closed has a clear code."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from consumers.stages.evaluation.judging import asking
from consumers.stages.evaluation.judging.asking import Asker, Unscored
from infra.engines import admission
from infra.engines.open import open_text_model
from schemas.errors import DependencyUnavailable, EngineClosed, EngineOverloaded
from schemas.models import OpenAIModel
from schemas.text import Message, TextOptions
from tests.contract.engine_server import EngineServer, engine_server
from tests.unit.judge_in_memory import MemoryJudgements


class Verdict(BaseModel):
    verdict: int


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(asking, "PAUSES_S", (0.01, 0.01))


@pytest.fixture
async def server() -> AsyncIterator[EngineServer]:
    async with engine_server() as made:
        yield made


@pytest.fixture
async def judge(server: EngineServer) -> AsyncIterator[Asker]:
    model = open_text_model(OpenAIModel(name="judge", engine="openai", url=server.url))
    yield Asker(model, MemoryJudgements(), uuid4(), ("t", "judge@1", ""), TextOptions())
    await model.close()


async def ask(judge: Asker, question: str = "?") -> int:
    return (await judge.ask([Message("user", question)], Verdict)).verdict


async def test_only_the_models_limits_say_how_many_calls_are_with_the_server_at_once(server: EngineServer) -> None:
    """120 are more connections than an HTTP client opens by itself."""
    there, all_there = 0, asyncio.Event()

    async def together(request: Request) -> Response:
        nonlocal there
        there += 1
        if there == 120:
            all_there.set()
        await asyncio.wait_for(all_there.wait(), 60)
        return await EngineServer.says("{}")(request)

    server.reply = together
    model = open_text_model(OpenAIModel(name="judge", engine="openai", url=server.url))
    await asyncio.gather(*(model.complete([Message("user", "?")], TextOptions()) for _ in range(120)))
    await model.close()


async def test_faults_now_and_then_cost_no_score(server: EngineServer, judge: Asker) -> None:
    good = server.says('{"verdict": 1}', usage={"prompt_tokens": 3, "completion_tokens": 2})
    faults = [
        server.refuses(429, "busy"),
        server.refuses(500, "oops"),
        server.refuses(200, "<html>busy</html>"),
        server.says("I would say so"),
        server.says('```json\n{"verdict": 1}\n```'),
        server.refuses(503, "busy", retry_after="0"),
    ]
    seen: set[str] = set()

    async def reply(request: Request) -> Response:
        question = server.bodies[-1]["messages"][0]["content"]
        begins = question.startswith("question") and question not in seen
        seen.add(question)
        return await (faults[int(question.split()[1]) % len(faults)] if begins else good)(request)

    server.reply = reply
    assert await ask(judge, "first") == 1
    found = await asyncio.gather(*(ask(judge, f"question {n}") for n in range(60)))
    assert found == [1] * 60
    assert len(judge.kept.replies) == 61  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (401, '{"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}', EngineClosed, "engine_refused"),
        (404, '{"error": {"message": "no such model"}}', EngineClosed, "engine_refused"),
        (429, "busy", EngineOverloaded, "engine_overloaded"),
        (502, "bad gateway", DependencyUnavailable, "dependency_unavailable"),
        (500, "oops", DependencyUnavailable, "dependency_unavailable"),
    ],
)
async def test_a_server_that_never_answers_has_a_clear_code(
    server: EngineServer,
    judge: Asker,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: str,
    error: type[Exception],
    code: str,
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_S", 0.05)
    server.reply = server.refuses(status, body)
    with pytest.raises(error) as caught:
        await ask(judge)
    assert caught.value.reason == code  # type: ignore[attr-defined]


async def test_a_server_that_is_down_is_an_outage() -> None:
    model = open_text_model(OpenAIModel(name="judge", engine="openai", url="http://127.0.0.1:9"))
    judge = Asker(model, MemoryJudgements(), uuid4(), ("t", "judge@1", ""), TextOptions())
    with pytest.raises(DependencyUnavailable):
        await ask(judge)
    await model.close()


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({"content": "<p>no</p>"}, "judge_unreadable"),
        ({"content": None, "refusal": "I must not judge"}, "judge_refused"),
        ({"content": '{"verdict"', "finish": "length"}, "judge_reply_cut"),
    ],
)
async def test_a_reply_without_a_verdict_is_a_missing_score(
    server: EngineServer, judge: Asker, reply: dict[str, Any], code: str
) -> None:
    server.reply = server.says(reply.pop("content"), reply.pop("finish", "stop"), **reply)
    with pytest.raises(Unscored) as caught:
        await ask(judge)
    assert caught.value.code == code
    assert judge.kept.replies == {}  # type: ignore[attr-defined]


async def test_html_instead_of_json_ends_as_a_missing_score_too(server: EngineServer, judge: Asker) -> None:
    server.reply = server.refuses(200, "<html>login</html>")
    # A judge that has answered before: else the address is taken for wrong, and the slice fails.
    judge._replied = True
    with pytest.raises(Unscored) as caught:
        await ask(judge)
    assert caught.value.code == "engine_reply_unreadable"


async def test_a_server_that_refuses_schemas_is_asked_in_words(server: EngineServer, judge: Asker) -> None:
    refuses = server.refuses(400, '{"error": {"message": "response_format is not supported here"}}')
    answers = server.says('{"verdict": 1}')

    async def reply(request: Request) -> Response:
        schema = "response_format" in server.bodies[-1]
        return await (refuses if schema else answers)(request)

    server.reply = reply
    assert await ask(judge) == 1
    assert server.bodies[0]["response_format"]["json_schema"]["schema"]["required"] == ["verdict"]
