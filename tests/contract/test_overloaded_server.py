"""A server without capacity is asked by fewer at a time, and again, before a job hears of it."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.requests import Request
from starlette.responses import Response

from infra.engines import admission, limited
from infra.engines.open import open_reranker, open_text_model, open_vectors
from infra.settings import RerankerSettings
from schemas.errors import EngineOverloaded, JobError
from schemas.models import OpenAIModel
from schemas.text import Completion, Message, TextOptions
from tests.contract.engine_server import EngineServer, Reply, engine_server

TALK = [Message("user", "안녕")]


@pytest.fixture
async def server() -> AsyncIterator[EngineServer]:
    async with engine_server() as made:
        yield made


@pytest.fixture
async def model(server: EngineServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[limited.LimitedTextModel]:
    monkeypatch.setattr(admission, "FIRST_WAIT_S", 0.01)
    made = open_text_model(OpenAIModel(name="m", engine="openai", url=server.url))
    assert isinstance(made, limited.LimitedTextModel)
    yield made
    await made.close()


async def test_a_server_that_takes_three_at_a_time_answers_all(
    server: EngineServer, model: limited.LimitedTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_S", 1_000.0)
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
    assert model.admission.gate.limit < 60


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_patience_ends_and_the_job_is_told(
    server: EngineServer, model: limited.LimitedTextModel, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_S", 0.1)
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


async def test_embeddings_are_asked_for_again_and_by_fewer_at_a_time(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(admission, "PATIENCE_S", 1_000.0)
    spec = {"name": "m", "engine": "openai", "url": server.url, "tasks": ["embeddings"], "vectors": {"batch": 1}}
    model = open_vectors(OpenAIModel.model_validate(spec))
    server.reply = taking(server, 2, server.embeds())
    texts = [f"글 {n}" for n in range(40)]
    found = await model.embed_documents(texts)
    assert [len(one.dense) for one in found if not isinstance(one, JobError)] == [8] * len(texts)
    assert len(texts) < len(server.bodies) < 3 * len(texts), "some were refused, and not again and again"
    await model.close()


async def test_a_reranker_is_asked_again_and_by_fewer_at_a_time(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(admission, "PATIENCE_S", 1_000.0)
    spec = {"name": "m", "engine": "openai", "url": server.url, "tasks": ["rerank"], "served_as": "ko"}
    with ThreadPoolExecutor(1) as thread:
        model = open_reranker(RerankerSettings(), OpenAIModel.model_validate(spec), thread)
    assert model is not None
    server.reply = taking(server, 2, server.scores(lambda _, text: len(text) / 10))
    asked = 30
    assert await asyncio.gather(*(model.rerank("질문", ["글", "긴 글"]) for _ in range(asked))) == [[0.1, 0.3]] * asked
    assert server.bodies[0]["model"] == "ko"
    assert asked < len(server.bodies) < 3 * asked
    await model.close()


@pytest.mark.parametrize("task", ["embeddings", "rerank"])
async def test_patience_with_such_a_server_ends_too(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.setattr(admission, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(admission, "PATIENCE_S", 0.1)
    row = OpenAIModel.model_validate({"name": "m", "engine": "openai", "url": server.url, "tasks": [task]})
    server.reply = server.refuses(429, "busy")
    with ThreadPoolExecutor(1) as thread:
        reranker, embedder = open_reranker(RerankerSettings(), row, thread), open_vectors(row)
    assert reranker is not None
    with pytest.raises(EngineOverloaded):
        await (reranker.rerank("질문", ["글"]) if task == "rerank" else embedder.embed_query("질문"))
    await reranker.close()
    await embedder.close()
    assert 2 <= len(server.bodies) <= 10


async def test_the_pace_of_embeddings_is_kept_by_what_the_server_counts(server: EngineServer) -> None:
    spec = {"name": "m", "engine": "openai", "url": server.url, "tasks": ["embeddings"]}
    model = open_vectors(OpenAIModel.model_validate({**spec, "limits": {"tokens_per_minute": 1_000}}))
    row = {"index": 0, "embedding": [1.0, 0.0]}
    server.reply = server.answers({"data": [row], "usage": {"prompt_tokens": 90_000, "total_tokens": 90_000}})
    await model.embed_query("하나")
    second = asyncio.ensure_future(model.embed_query("둘"))
    done, _ = await asyncio.wait([second], timeout=0.2)
    assert (done, len(server.bodies)) == (set(), 1)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await model.close()


def taking(server: EngineServer, most: int, answers: Reply) -> Reply:
    """Answers as many at a time, and refuses the others."""
    busy, refuses = 0, server.refuses(429, "busy")

    async def reply(request: Request) -> Response:
        nonlocal busy
        if busy == most:
            return await refuses(request)
        busy += 1
        try:
            await asyncio.sleep(0.005)
            return await answers(request)
        finally:
            busy -= 1

    return reply
