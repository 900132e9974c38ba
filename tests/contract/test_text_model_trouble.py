"""The chat-completions adapter in trouble: what an engine answers becomes an error with a code, or is learned from."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from infra.engines.dialect import Dialect
from schemas.errors import (
    DependencyUnavailable,
    EngineOverloaded,
    EngineRefused,
    JobError,
)
from schemas.text import Completion, TextOptions
from tests.contract.chat_server import ANSWER, chat, complete, impatient, model, opened, stream
from tests.contract.engine_server import EngineServer, Reply
from tests.contract.text_model_contract import OPTIONS, TALK

__all__ = ["chat", "impatient", "model"]


def error(message: str = "why", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def in_an_hour() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


QUOTA = error("You exceeded your current quota, please check your plan.", type="insufficient_quota")


TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens."


TROUBLE: dict[str, tuple[int, Any, str, bool]] = {
    # name: status, body, code, whether it is an outage
    "no capacity": (429, error(), "engine_overloaded", True),
    "no capacity for now": (503, "busy", "engine_overloaded", True),
    "overloaded": (529, error(), "engine_overloaded", True),
    "no capacity, behind a 200": (200, error("Rate limit exceeded", code=429), "engine_overloaded", True),
    "no capacity, by its type": (200, error(type="overloaded_error"), "engine_overloaded", True),
    "Google's limit by the minute": (
        429, [error("You exceeded your current quota", status="RESOURCE_EXHAUSTED")], "engine_overloaded", True),
    "broken": (500, "oops", "dependency_unavailable", True),
    "a proxy's page": (502, "<html><h1>502 Bad Gateway</h1></html>", "dependency_unavailable", True),
    "broken, behind a 200": (200, {"choices": None, **error(code=502)}, "dependency_unavailable", True),
    "broken, as a text": (200, error(code="502"), "dependency_unavailable", True),
    "broken off by its provider": (
        200, {"choices": [{"message": {"content": ""}, "error": {"message": "why", "code": 502}}]},
        "dependency_unavailable", True),
    "no quota": (429, QUOTA, "engine_quota_exceeded", False),
    "no quota, behind a 200": (200, QUOTA, "engine_quota_exceeded", False),
    "not paid": (402, error("Insufficient credits"), "engine_quota_exceeded", False),
    "took too long": (408, error("litellm.Timeout"), "engine_error", False),
    "conflict": (409, error(), "engine_error", False),
    "too early": (425, error(), "engine_error", False),
    "an error without a name, behind a 200": (200, {"error": "model is loading"}, "engine_error", False),
    "a page": (200, "<html>Sign in</html>", "engine_reply_unreadable", False),
    "a list": (200, [], "engine_reply_unreadable", False),
    "no choices": (200, {"id": "x"}, "engine_reply_unreadable", False),
    "parts of another kind": (200, {"choices": [{"message": {"content": 7}}]}, "engine_reply_unreadable", False),
    "no such model": (404, error("The model `m` does not exist."), "engine_refused", False),
    "wrong key": (401, error("Incorrect API key provided"), "engine_refused", False),
    "moved": (307, "", "engine_refused", False),
    "too long": (400, error(TOO_LONG), "engine_refused", False),
    "too long, behind a 200": (200, error(TOO_LONG, code=400), "engine_refused", False),
    "too long, behind a 500": (500, error(TOO_LONG, type="BadRequestError"), "engine_refused", False),
    "vLLM's of before": (400, {"object": "error", "message": TOO_LONG, "code": 400}, "engine_refused", False),
}  # fmt: skip


class TestTrouble:
    @pytest.mark.parametrize("name", TROUBLE)
    @pytest.mark.parametrize("ask", [complete, stream])
    async def test_each_has_its_code_and_only_what_does_not_answer_is_an_outage(
        self, chat: EngineServer, name: str, ask: Any
    ) -> None:
        status, body, code, outage = TROUBLE[name]
        chat.reply = chat.refuses(status, body if isinstance(body, str) else json.dumps(body))
        with pytest.raises(JobError) as caught:
            await ask(chat)
        assert (caught.value.reason, isinstance(caught.value, DependencyUnavailable)) == (code, outage)
        assert caught.value.retryable == (code != "engine_refused")

    async def test_the_engines_own_words_are_told(self, chat: EngineServer) -> None:
        for body in (error(TOO_LONG), {"error": TOO_LONG}, {"object": "error", "message": TOO_LONG}, [error(TOO_LONG)]):
            chat.reply = chat.answers(body, 400)
            with pytest.raises(EngineRefused, match="maximum context length is 4096"):
                await complete(chat)

    @pytest.mark.parametrize(
        ("told", "lowest", "highest"),
        [
            ({"retry_after": "7"}, 7, 7),
            ({"retry_after": "2.5"}, 2.5, 2.5),
            ({"retry_after_ms": "1500"}, 1.5, 1.5),
            ({"retry_after": "99999"}, 600, 600),
            ({"retry_after": "-3"}, 0, 0),
            ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
            ({"retry_after": in_an_hour()}, 600, 600),
        ],
    )
    @pytest.mark.parametrize("status", [408, 409, 425, 429, 502, 503, 529])
    async def test_it_says_when_to_come_again(
        self, chat: EngineServer, status: int, told: dict[str, str], lowest: float, highest: float
    ) -> None:
        chat.reply = chat.refuses(status, "{}", **told)
        with pytest.raises(JobError) as caught:
            await complete(chat)
        assert caught.value.retry_after is not None
        assert lowest <= caught.value.retry_after.total_seconds() <= highest

    @pytest.mark.parametrize("told", ["soon", "nan", "inf", ""])
    async def test_a_retry_time_that_cannot_be_read_is_ignored(self, chat: EngineServer, told: str) -> None:
        chat.reply = chat.refuses(429, "{}", retry_after=told)
        with pytest.raises(EngineOverloaded) as caught:
            await complete(chat)
        assert caught.value.retry_after is None

    async def test_no_server_and_no_answer_in_time(self, chat: EngineServer) -> None:
        release = asyncio.Event()

        async def never(_: Request) -> Response:
            await release.wait()
            return Response()

        chat.reply = never
        with pytest.raises(DependencyUnavailable, match="in time"):
            await complete(chat, timeout=timedelta(seconds=0.2))
        release.set()
        chat.url = "http://127.0.0.1:9"
        with pytest.raises(DependencyUnavailable, match="cannot be reached"):
            await complete(chat)


def picky(chat: EngineServer, refuses: dict[str, str]) -> Reply:
    """An engine that refuses fields, one at a time, in its own words; `system` stands for that role."""

    async def reply(request: Request) -> Response:
        body = await request.json()
        there = {*body, *(message["role"] for message in body["messages"])}
        for name, words in refuses.items():
            if name in there:
                return await chat.answers(error(words, type="invalid_request_error"), 400)(request)
        return await (chat.streams(ANSWER) if body.get("stream") else chat.says(ANSWER))(request)

    return reply


class TestLearning:
    async def test_it_leaves_out_what_the_engine_does_not_take_and_remembers(self, chat: EngineServer) -> None:
        chat.reply = picky(
            chat,
            {
                "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model."
                " Use 'max_completion_tokens' instead.",
                "temperature": "Unsupported value: 'temperature' does not support 0 with this model.",
                "stream_options": "stream_options: Extra inputs are not permitted",
                "system": "System role not supported",
            },
        )
        async with opened(chat) as model:
            assert (await model.complete(TALK, OPTIONS)).text == ANSWER
            assert len(chat.bodies) == 4
            assert (await model.complete(TALK, OPTIONS)).text == ANSWER
            assert len(chat.bodies) == 5
            *_, end = [item async for item in model.stream(TALK, OPTIONS)]
            assert isinstance(end, Completion)
            assert end.text == ANSWER
        last = chat.bodies[-1]
        assert (set(last), last["messages"][0]["role"]) == (
            {"model", "messages", "max_completion_tokens", "stream"},
            "user",
        )

    async def test_many_that_learn_at_once_all_get_through(self, chat: EngineServer) -> None:
        chat.reply = picky(
            chat, {"max_tokens": "use 'max_completion_tokens' instead", "temperature": "unsupported: temperature"}
        )
        async with opened(chat) as model:
            found = await asyncio.gather(*(model.complete(TALK, OPTIONS) for _ in range(12)))
        assert {one.text for one in found} == {ANSWER}

    @pytest.mark.parametrize(
        "words",
        ["temperature must be at most 1", TOO_LONG, "response_format is not supported", "'stop' is not supported"],
    )
    async def test_what_was_asked_for_is_not_left_out_silently(self, chat: EngineServer, words: str) -> None:
        chat.reply = picky(chat, {"model": words})
        with pytest.raises(EngineRefused):
            await complete(chat, TextOptions(64, 0.0, stop=["x"], schema={"type": "object"}))
        assert len(chat.bodies) == 1

    async def test_an_engine_that_refuses_whatever_it_gets_is_not_asked_for_ever(self, chat: EngineServer) -> None:
        chat.reply = chat.answers(error("unsupported: temperature, max_completion_tokens, system role"), 400)
        with pytest.raises(EngineRefused):
            await complete(chat)
        assert len(chat.bodies) <= 6

    def test_what_is_configured_is_not_learned_away(self) -> None:
        dialect = Dialect("m", extra={"temperature": 1})
        assert dialect.body(TALK, OPTIONS)["temperature"] == 1
