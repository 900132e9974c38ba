"""A server without capacity is asked by fewer at a time, and again, before a job hears of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request
from starlette.responses import Response

from infra.engines import limited
from infra.engines.open import open_text_model
from schemas.errors import EngineOverloaded
from schemas.models import OpenAIModel
from schemas.text import Completion, Message, TextOptions
from tests.contract.engine_server import EngineServer, engine_server

TALK = [Message("user", "안녕")]


@pytest.fixture
async def server() -> AsyncIterator[EngineServer]:
    async with engine_server() as made:
        yield made


@pytest.fixture
async def model(server: EngineServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[limited.LimitedTextModel]:
    monkeypatch.setattr(limited, "FIRST_WAIT_S", 0.01)
    made = open_text_model(OpenAIModel(name="m", engine="openai", url=server.url))
    assert isinstance(made, limited.LimitedTextModel)
    yield made
    await made.close()


async def test_a_server_that_takes_three_at_a_time_answers_all(
    server: EngineServer, model: limited.LimitedTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited, "PATIENCE_S", 1_000.0)
    busy = most = refused = 0
    answers, refuses = server.says("예"), server.refuses(429, "busy")

    async def reply(request: Request) -> Response:
        nonlocal busy, most, refused
        if busy == 3:
            refused += 1
            return await refuses(request)
        busy += 1
        most = max(most, busy)
        try:
            await asyncio.sleep(0.005)
            return await answers(request)
        finally:
            busy -= 1

    server.reply = reply
    found = await asyncio.gather(*(model.complete(TALK, TextOptions()) for _ in range(60)))
    assert {one.text for one in found} == {"예"}
    assert most == 3
    # Without adapting, each of the many that wait would be refused again and again.
    assert 0 < refused < 3 * 60
    assert model._gate.limit < 60


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_patience_ends_and_the_job_is_told(
    server: EngineServer, model: limited.LimitedTextModel, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(limited, "PATIENCE_S", 0.1)
    server.reply = server.refuses(status, "busy")
    with pytest.raises(EngineOverloaded):
        await model.complete(TALK, TextOptions())
    assert 2 <= len(server.bodies) <= 10


async def test_a_time_beyond_the_patience_is_the_jobs_to_wait(
    server: EngineServer, model: limited.LimitedTextModel
) -> None:
    server.reply = server.refuses(429, "busy", retry_after="60")
    with pytest.raises(EngineOverloaded) as caught:
        await model.complete(TALK, TextOptions())
    assert caught.value.retry_after is not None
    assert (caught.value.retry_after.total_seconds(), len(server.bodies)) == (60, 1)


async def test_a_stream_is_repeated_only_before_its_first_piece(
    server: EngineServer, model: limited.LimitedTextModel
) -> None:
    refuses, streams = server.refuses(503, "busy"), server.streams("안", "녕")

    async def reply(request: Request) -> Response:
        return await (refuses if len(server.bodies) == 1 else streams)(request)

    server.reply = reply
    pieces = [piece async for piece in model.stream(TALK, TextOptions())]
    assert isinstance(pieces[-1], Completion)
    assert (pieces[-1].text, len(server.bodies)) == ("안녕", 2)
    server.reply = server.sends(
        {"choices": [{"delta": {"content": "안"}}]}, {"error": {"message": "busy", "code": 429}}
    )
    with pytest.raises(EngineOverloaded):
        _ = [piece async for piece in model.stream(TALK, TextOptions())]
    assert len(server.bodies) == 3


async def test_tokens_a_minute_are_kept_by_what_the_server_counts(server: EngineServer) -> None:
    spec = {"name": "m", "engine": "openai", "url": server.url, "limits": {"tokens_per_minute": 1_000}}
    model = open_text_model(OpenAIModel.model_validate(spec))
    server.reply = server.says("예", usage={"prompt_tokens": 300, "completion_tokens": 90_000})
    await model.complete(TALK, TextOptions())
    second = asyncio.ensure_future(model.complete(TALK, TextOptions()))
    await asyncio.sleep(0)
    done, _ = await asyncio.wait([second], timeout=0.2)
    assert (done, len(server.bodies)) == (set(), 1)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await model.close()
