"""The chat-completions adapter, opened against a real HTTP server that answers as a test says."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from consumers.stages.ports import TextModel
from infra.engines import admission
from infra.engines.open import open_text_model
from infra.models import of_settings
from infra.settings import GeneratorSettings
from schemas.text import Completion, TextDelta, TextOptions
from tests.contract.engine_server import EngineServer, engine_server
from tests.contract.text_model_contract import OPTIONS, TALK

ANSWER = "한라산의 높이는 1,947미터이다 [1]."


@pytest.fixture
async def chat() -> AsyncIterator[EngineServer]:
    async with engine_server() as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first refusal is told: `test_overloaded_server.py` tests the patience before it."""
    monkeypatch.setattr(admission, "PATIENCE_S", 0.0)


@contextlib.asynccontextmanager
async def opened(chat: EngineServer, **settings: Any) -> AsyncIterator[TextModel]:
    model = open_text_model(of_settings(GeneratorSettings(url=chat.url, model="m", **settings)))
    try:
        yield model
    finally:
        await model.close()


async def complete(chat: EngineServer, options: TextOptions = OPTIONS, **settings: Any) -> Completion:
    async with opened(chat, **settings) as model:
        return await model.complete(TALK, options)


async def stream(chat: EngineServer, **settings: Any) -> tuple[list[str], Completion]:
    async with opened(chat, **settings) as model:
        items = [item async for item in model.stream(TALK, OPTIONS)]
    *deltas, end = items
    assert isinstance(end, Completion)
    return [delta.text for delta in deltas if isinstance(delta, TextDelta)], end


@pytest.fixture
async def model(chat: EngineServer) -> AsyncIterator[TextModel]:
    """About to say ANSWER in 5 tokens to a prompt of 30."""
    usage = {"prompt_tokens": 30, "completion_tokens": 5}

    async def reply(asked: Request) -> Response:
        streamed = (await asked.json()).get("stream")
        says = chat.streams(ANSWER[:4], ANSWER[4:9], ANSWER[9:], usage=usage)
        return await (says if streamed else chat.says(ANSWER, usage=usage))(asked)

    chat.reply = reply
    async with opened(chat) as adapter:
        yield adapter
