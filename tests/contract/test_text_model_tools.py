"""The chat-completions adapter: tools that a model calls, and the likelihoods of texts."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from infra.engines.openai import OpenAITextModel
from schemas.errors import (
    EngineRefused,
    EngineReplyBroken,
)
from schemas.retrieval import Usage
from schemas.text import Completion, Likelihood, Message, TextOptions, ToolCall
from tests.contract.chat_server import chat, complete, impatient, model, opened, stream
from tests.contract.engine_server import EngineServer, Reply
from tests.contract.text_model_contract import OPTIONS

__all__ = ["chat", "impatient", "model"]


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
