"""The chat-completions adapter: it guarantees what every `TextModel` does, and reads engines as they are.

That adapter meets a real HTTP server on a socket, which speaks the protocol in all the ways that engines do.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from consumers.stages.ports import TextModel
from infra.engines.openai import OpenAITextModel
from schemas.errors import (
    DependencyUnavailable,
    EngineOverloaded,
    EngineTrouble,
)
from schemas.retrieval import Usage
from schemas.text import Completion, TextDelta, TextOptions
from tests.contract.chat_server import ANSWER, chat, complete, impatient, model, opened, stream
from tests.contract.engine_server import EngineServer, Reply
from tests.contract.text_model_contract import OPTIONS, TALK, TextModelContract

__all__ = ["chat", "impatient", "model"]


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
