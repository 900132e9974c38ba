"""The chat-completions adapter: it guarantees what every `TextModel` does, and reads engines as they are.

That adapter meets a real HTTP server on a socket, which speaks the protocol in all the ways that engines do.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from consumers.stages.ports import TextModel
from infra.engines import admission
from infra.engines.dialect import Dialect
from infra.engines.open import open_text_model
from infra.engines.openai import OpenAITextModel
from infra.models import of_settings
from infra.settings import GeneratorSettings
from schemas.errors import (
    DependencyUnavailable,
    EngineOverloaded,
    EngineRefused,
    EngineReplyBroken,
    EngineTrouble,
    JobError,
)
from schemas.retrieval import Usage
from schemas.text import Completion, Likelihood, Message, TextDelta, TextOptions, ToolCall
from tests.contract.engine_server import EngineServer, Reply, engine_server
from tests.contract.text_model_contract import OPTIONS, TALK, TextModelContract

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


class TestEveryTextModel(TextModelContract):
    """The engines that run in a process of ours keep the same: `tests/engines`."""


class TestChatCompletions:
    async def test_what_the_server_says_is_what_comes(self, model: TextModel) -> None:
        assert await model.complete(TALK, OPTIONS) == Completion(ANSWER, "stop", model.name, Usage(30, 5))


FORMS: dict[str, Reply] = {
    "parts": EngineServer.says(
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "생각 [2]"}]},
            {"type": "text", "text": ANSWER[:7]},
            {"type": "text", "text": ANSWER[7:]},
        ]
    ),
    "a stream nobody asked for": EngineServer.streams(ANSWER[:8], ANSWER[8:], finish=None),
    "completions of before": EngineServer.answers({"choices": [{"index": 0, "text": ANSWER, "finish_reason": "stop"}]}),
    "thoughts in a field": EngineServer.says(ANSWER, reasoning_content="생각 [2]", reasoning="생각"),
    "thoughts in the text": EngineServer.says(f"<think>생각 [2]</think>\n\n{ANSWER}"),
    "blanks before the JSON": EngineServer.refuses(
        200, "\n\n\n" + json.dumps({"choices": [{"message": {"content": ANSWER}}]})
    ),
}


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    async def test_the_text_is_read_in_whatever_form_it_comes(self, chat: EngineServer, form: str) -> None:
        chat.reply = FORMS[form]
        assert (await complete(chat)).text == ANSWER

    async def test_an_engine_that_cannot_stream_answers_whole(self, chat: EngineServer) -> None:
        chat.reply = chat.says(ANSWER)
        assert await stream(chat) == ([ANSWER], Completion(ANSWER, "stop", "m"))

    async def test_other_encodings_than_utf8_are_read_as_the_header_says(self, chat: EngineServer) -> None:
        body = json.dumps({"choices": [{"message": {"content": ANSWER}}]}, ensure_ascii=False)
        for encoding, header in (("utf-8-sig", "utf-8"), ("cp949", "euc-kr"), ("utf-8", "iso-8859-1")):

            async def reply(_: Request, data: bytes = body.encode(encoding), charset: str = header) -> Response:
                return Response(data, media_type=f"application/json; charset={charset}")

            chat.reply = reply
            assert (await complete(chat)).text == ANSWER, encoding

    @pytest.mark.parametrize("usage", [None, [], {}, {"prompt_tokens": "n/a", "completion_tokens": None}])
    async def test_counts_that_cannot_be_read_are_0(self, chat: EngineServer, usage: Any) -> None:
        chat.reply = chat.says(ANSWER, usage=usage)
        assert (await complete(chat)).usage == Usage(0, 0)

    @pytest.mark.parametrize(
        ("finish", "told"),
        [
            ("stop", "stop"),
            ("eos_token", "stop"),
            ("length", "length"),
            ("MAX_TOKENS", "length"),
            ("SAFETY", "content_filter"),
            (None, None),
            ("something new", None),
        ],
    )
    async def test_the_reason_is_told_in_one_vocabulary(
        self, chat: EngineServer, finish: str | None, told: str | None
    ) -> None:
        chat.reply = chat.says("한라산의 높이는 1,9", finish)
        assert (await complete(chat)).finish_reason == told

    async def test_what_holds_no_text_is_told_apart_by_refusal_and_reason(self, chat: EngineServer) -> None:
        calls = [{"id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}]
        for reply, refusal, finish in (
            (chat.says(None, refusal="도울 수 없습니다."), "도울 수 없습니다.", "stop"),
            (chat.says([{"type": "refusal", "refusal": "안 됩니다."}]), "안 됩니다.", "stop"),
            (chat.says("", "content_filter"), None, "content_filter"),
            (chat.says(None, "tool_calls", tool_calls=calls), None, "tool_calls"),
            (chat.says(None, "length", reasoning_content="생각만"), None, "length"),
            (chat.says("<think>생각만", "length"), None, "length"),
            (chat.answers({"choices": [], "usage": {}}), None, None),
        ):
            chat.reply = reply
            found = await complete(chat)
            assert (found.text, found.refusal, found.finish_reason) == ("", refusal, finish)


class TestStreams:
    async def test_thoughts_are_never_shown(self, chat: EngineServer) -> None:
        chat.reply = chat.streams("<thi", "nk>생각 [", "2]</th", "ink>\n\n한라산은", " 높다", " [1]. ")
        assert await stream(chat) == (["한라산은", " 높다", " [1]."], Completion("한라산은 높다 [1].", "stop", "m"))

    async def test_thoughts_that_nothing_announced_are_not_in_the_text_that_holds(self, chat: EngineServer) -> None:
        chat.reply = chat.streams("자료 [2]를 보자.", "</think>", ANSWER)
        _, end = await stream(chat)
        assert end.text == ANSWER

    async def test_thoughts_that_nothing_announces_are_shown_once_and_never_again(self, chat: EngineServer) -> None:
        async def shown(model: TextModel, *pieces: str) -> list[str]:
            chat.reply = chat.streams(*pieces)
            return [piece.text async for piece in model.stream(TALK, OPTIONS) if isinstance(piece, TextDelta)]

        async with opened(chat) as model:
            await shown(model, "자료 [2]를 보자.", "</think>", ANSWER)
            assert await shown(model, "다시 보자. ", "</think>", ANSWER[:4], ANSWER[4:]) == [ANSWER[:4], ANSWER[4:]]
            assert await shown(model, ANSWER[:4], ANSWER[4:]) == [ANSWER], "without thoughts it is shown at its end"
            assert await shown(model, ANSWER[:4], ANSWER[4:]) == [ANSWER[:4], ANSWER[4:]]

    async def test_whoever_closes_a_stream_stops_the_engine(self, chat: EngineServer) -> None:
        gone = asyncio.Event()

        async def endless() -> AsyncIterator[str]:
            try:
                while True:
                    yield 'data: {"choices": [{"delta": {"content": "가"}}]}\n\n'
                    await asyncio.sleep(0.01)
            finally:
                gone.set()

        async def reply(_: Request) -> Response:
            return StreamingResponse(endless(), media_type="text/event-stream")

        chat.reply = reply
        async with opened(chat) as model:
            async with contextlib.aclosing(model.stream(TALK, OPTIONS)) as pieces:
                assert await anext(pieces) == TextDelta("가")
            async with asyncio.timeout(60):
                await gone.wait()

    async def test_a_cancelled_completion_stops_the_engine(self, chat: EngineServer) -> None:
        begun, gone = asyncio.Event(), asyncio.Event()

        async def reply(request: Request) -> Response:
            begun.set()
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
            gone.set()
            return Response()

        chat.reply = reply
        async with opened(chat) as model:
            task = asyncio.create_task(model.complete(TALK, OPTIONS))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(60):
                await gone.wait()

    async def test_a_stream_that_breaks_off_is_no_answer(self, chat: EngineServer) -> None:
        chat.reply = chat.streams("한라산의", finish=None, done=False)
        with pytest.raises(DependencyUnavailable, match="broke off"):
            await stream(chat)

    async def test_an_error_in_the_middle_of_a_stream_is_told(self, chat: EngineServer) -> None:
        chat.reply = chat.sends(
            {"choices": [{"delta": {"content": "한"}}]}, {"error": {"message": "busy", "code": 429}}
        )
        with pytest.raises(EngineOverloaded, match="busy"):
            await stream(chat)
        chat.reply = chat.sends({"choices": [{"delta": {"content": "한"}}]}, "{no json")
        with pytest.raises(EngineTrouble) as caught:
            await stream(chat)
        assert caught.value.reason == "engine_reply_unreadable"


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


class TestRequests:
    @pytest.mark.parametrize(
        ("base", "target"),
        [
            ("", "/v1/chat/completions"),
            ("/", "/v1/chat/completions"),
            ("/v1/", "/v1/chat/completions"),
            ("/v1/openai", "/v1/openai/chat/completions"),
            ("/v1beta/openai/", "/v1beta/openai/chat/completions"),
            ("/api/paas/v4", "/api/paas/v4/chat/completions"),
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/openai/deployments/gpt?api-version=1", "/openai/deployments/gpt/chat/completions?api-version=1"),
        ],
    )
    async def test_the_base_may_be_any_path(self, chat: EngineServer, base: str, target: str) -> None:
        chat.reply = chat.says(ANSWER)
        async with contextlib.AsyncExitStack() as exits:
            model = OpenAITextModel(f"{chat.url}{base}", "m")
            exits.push_async_callback(model.close)
            await model.complete(TALK, OPTIONS)
        assert chat.targets == [target]

    async def test_it_follows_the_protocol(self, chat: EngineServer) -> None:
        chat.reply = chat.says(ANSWER)
        schema = {"type": "object"}
        options = TextOptions(64, 0.0, top_p=0.9, stop=["\n\n"], seed=7, schema=schema)
        await complete(chat, options, api_key="secret", headers={"X-Team": "a"}, body={"reasoning_effort": "low"})
        assert chat.bodies == [
            {
                "model": "m",
                "messages": [{"role": one.role, "content": one.content} for one in TALK],
                "max_tokens": 64,
                "temperature": 0.0,
                "top_p": 0.9,
                "seed": 7,
                "stop": ["\n\n"],
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": schema, "strict": True},
                },
                "reasoning_effort": "low",
            }
        ]
        assert (chat.headers[0]["authorization"], chat.headers[0]["x-team"]) == ("Bearer secret", "a")

    async def test_an_engine_can_be_described(self, chat: EngineServer) -> None:
        chat.reply = chat.says(ANSWER)
        await complete(chat, length_field="max_completion_tokens", sampling=False, system_role="none")
        user = {"role": "user", "content": "짧게 답하라.\n\n한라산의 높이는?"}
        assert chat.bodies == [{"model": "m", "messages": [user], "max_completion_tokens": OPTIONS.max_tokens}]
        await complete(chat, system_role="developer")
        assert chat.bodies[1]["messages"][0] == {"role": "developer", "content": "짧게 답하라."}


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


TOOLS = [{"type": "function", "function": {"name": "height", "parameters": {"type": "object"}}}]
CALLED = ToolCall("c1", "height", '{"mountain": "한라산"}')


class TestTools:
    async def test_tools_are_offered_and_turns_about_calls_told(self, chat: EngineServer) -> None:
        talk = [Message("user", "높이는?"), Message("assistant", "", [CALLED]), Message("tool", "1947", (), "c1")]
        async with opened(chat) as model:
            await model.complete(talk, TextOptions(tools=TOOLS, tool_choice="auto"))
        [body] = chat.bodies
        assert (body["tools"], body["tool_choice"]) == (TOOLS, "auto")
        function = {"name": "height", "arguments": CALLED.arguments}
        assert body["messages"][1:] == [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": function}],
            },
            {"role": "tool", "content": "1947", "tool_call_id": "c1"},
        ]

    async def test_a_request_without_tools_says_nothing_of_them(self, chat: EngineServer) -> None:
        await complete(chat)
        assert not {"tools", "tool_choice", "response_format"} & set(chat.bodies[0])

    async def test_any_json_object_may_be_asked_for(self, chat: EngineServer) -> None:
        await complete(chat, TextOptions(json_object=True))
        assert chat.bodies[0]["response_format"] == {"type": "json_object"}

    @pytest.mark.parametrize("arguments", [CALLED.arguments, {"mountain": "한라산"}], ids=["text", "object"])
    async def test_calls_of_a_whole_reply_are_read(self, chat: EngineServer, arguments: Any) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "height", "arguments": arguments}}
        chat.reply = chat.says(None, None, tool_calls=[call])
        reply = await complete(chat)
        assert (reply.text, reply.finish_reason, list(reply.tool_calls)) == ("", "tool_calls", [CALLED])

    async def test_calls_in_pieces_are_put_together(self, chat: EngineServer) -> None:
        def piece(index: int, call_id: str | None = None, **function: str) -> dict[str, Any]:
            call = {"index": index, "function": function, **({"id": call_id} if call_id else {})}
            return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}

        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
        chat.reply = chat.sends(
            piece(0, "c1", name="height", arguments=""),
            piece(0, arguments='{"mountain": '),
            piece(1, name="now", arguments="{}"),
            piece(0, arguments='"한라산"}'),
            end,
            "[DONE]",
        )
        deltas, reply = await stream(chat)
        assert deltas == []
        assert (reply.finish_reason, list(reply.tool_calls)) == (
            "tool_calls",
            [CALLED, ToolCall("call_1", "now", "{}")],
        )

    async def test_a_call_that_is_none_is_unreadable(self, chat: EngineServer) -> None:
        chat.reply = chat.says(None, "tool_calls", tool_calls=["height"])
        with pytest.raises(EngineReplyBroken):
            await complete(chat)


class TestLikelihoods:
    """Through the call `/completions`, as `vllm serve` answers: a token for each word, -1 for each letter."""

    @staticmethod
    def echoes(*, logprobs: bool = True) -> Reply:
        async def reply(request: Request) -> Response:
            body = await request.json()
            words = body["prompt"].split()
            told: list[float | None] = [-float(len(word)) for word in words]
            best: list[dict[str, float] | None] = [
                {"?": -2.0, word: one} for word, one in zip(words, told, strict=True) if one is not None
            ]
            told[0] = best[0] = None
            written = {"token_logprobs": [*told, -0.5], "top_logprobs": [*best, {"x": -0.5}]}
            choice = {"text": body["prompt"], "logprobs": written if logprobs and body.get("echo") else None}
            usage = {"prompt_tokens": len(words), "completion_tokens": 1}
            return await EngineServer.answers({"choices": [choice], "usage": usage})(request)

        return reply

    async def test_what_stands_after_the_context_is_scored(self, chat: EngineServer) -> None:
        chat.reply = self.echoes()
        async with opened(chat) as model:
            found = await model.likelihoods("the capital is ", ["Seoul", "an old one"], OPTIONS)
        assert found == [Likelihood(-5.0, False, 1), Likelihood(-8.0, False, 3)]
        assert {body["prompt"] for body in chat.bodies} == {
            "the capital is",
            "the capital is Seoul",
            "the capital is an old one",
        }
        assert set(chat.targets) == {"/v1/completions"}

    async def test_of_a_text_alone_all_but_its_first_token_is_scored(self, chat: EngineServer) -> None:
        chat.reply = self.echoes()
        async with opened(chat) as model:
            assert await model.likelihoods("", ["a b cd"], OPTIONS) == [Likelihood(-3.0, True, 2)]

    async def test_a_server_that_does_not_tell_is_refused_with_the_remedy(self, chat: EngineServer) -> None:
        chat.reply = self.echoes(logprobs=False)
        async with opened(chat) as model:
            with pytest.raises(EngineRefused, match="`echo` with `logprobs`") as refused:
                await model.likelihoods("the capital is", [" Seoul"], OPTIONS)
        assert refused.value.reason == "likelihoods_unsupported"

    @pytest.mark.parametrize("path", ["", "/v1", "/v1/chat/completions"])
    async def test_a_raw_text_is_continued_without_a_chat(self, chat: EngineServer, path: str) -> None:
        written = {"text": " Seoul.", "finish_reason": "stop"}
        chat.reply = chat.answers({"choices": [written], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
        model = OpenAITextModel(chat.url + path, "m")
        raw = TextOptions(max_tokens=8, temperature=0.0, stop=["\n"], raw=True)
        found = await model.complete([Message("user", "the capital is")], raw)
        await model.close()
        assert found == Completion(" Seoul.", "stop", "m", Usage(3, 2))
        assert chat.targets == ["/v1/completions"]
        assert chat.bodies == [
            {"model": "m", "prompt": "the capital is", "max_tokens": 8, "temperature": 0.0, "stop": ["\n"]}
        ]
