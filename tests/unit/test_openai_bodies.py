"""OpenAI's requests become our inputs, and our results OpenAI's answers, as its own client reads them."""

from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from schemas.errors import InvalidInput
from schemas.openai.endpoints import ENDPOINTS

ASK = [{"role": "user", "content": "안녕"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "날씨", "arguments": '{"곳": "제주"}'}}
TEXT = {
    "message": {"role": "assistant", "content": "반갑습니다", "refusal": None, "tool_calls": None},
    "finish_reason": "stop",
    "model": "m",
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
}
TOOLS = {**TEXT, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}
CUT = {**TEXT, "finish_reason": "length"}


def read(endpoint: str, **body: Any) -> dict[str, Any]:
    return ENDPOINTS[endpoint].request(body).model_dump(exclude_defaults=True, by_alias=True)


def answered(endpoint: str, result: dict[str, Any]) -> dict[str, Any]:
    return ENDPOINTS[endpoint].answer(result, "ab12", 1_700_000_000)


def test_a_chat_is_a_conversation() -> None:
    found = read("/v1/chat/completions", model="m", messages=ASK, max_completion_tokens=9, temperature=0, n=1,
                 user="u", stream=False, seed=None, store=True, presence_penalty=0)  # fmt: skip
    assert {**found, "messages": found["messages"][0]["content"]} == {
        "model": "m",
        "messages": "안녕",
        "max_tokens": 9,
        "temperature": 0,
    }


def test_a_prompt_is_a_conversation_of_one_message() -> None:
    found = read("/v1/completions", model="m", prompt="옛날 옛적에", max_tokens=5)
    assert [message["content"] for message in found["messages"]] == ["옛날 옛적에"]


def test_a_response_is_a_conversation_with_instructions_turns_calls_and_a_form() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    found = read(
        "/v1/responses",
        model="m",
        instructions="짧게",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "제주 날씨?"}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "맑음"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "맑습니다"}]},
        ],
        max_output_tokens=7,
        text={"format": {"type": "json_schema", "name": "form", "schema": schema}},
        tools=[{"type": "function", "name": "weather", "parameters": schema, "strict": True}],
        tool_choice={"type": "function", "name": "weather"},
    )
    assert [message["role"] for message in found["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert found["messages"][3] == {"role": "tool", "content": "맑음", "tool_call_id": "c1"}
    assert found["max_tokens"] == 7
    assert found["response_format"]["json_schema"] == {"name": "form", "schema": schema}
    assert found["tools"][0]["function"]["name"] == found["tool_choice"]["function"]["name"] == "weather"
    assert read("/v1/responses", model="m", input="안녕")["messages"] == ASK


def test_texts_to_embed_are_one_or_many() -> None:
    assert read("/v1/embeddings", model="m", input="가", encoding_format="float") == {"texts": ["가"], "model": "m"}
    assert read("/v1/embeddings", input=["가", "나"]) == {"texts": ["가", "나"]}


@pytest.mark.parametrize(
    ("endpoint", "body", "field"),
    [
        ("/v1/chat/completions", {"messages": ASK, "n": 2}, "body.n"),
        ("/v1/chat/completions", {"messages": ASK, "stream": True}, "body.stream"),
        ("/v1/chat/completions", {"messages": ASK, "logprobs": True}, "body.logprobs"),
        ("/v1/chat/completions", {"messages": ASK, "logit_bias": {"5": 1}}, "body.logit_bias"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "body.messages"),
        ("/v1/chat/completions", {}, "body.messages"),
        ("/v1/chat/completions", {"messages": ASK, "max_completion_tokens": 0}, "body.max_tokens"),
        ("/v1/completions", {"prompt": ["a", "b"]}, "body.prompt"),
        ("/v1/completions", {"prompt": "a", "echo": True}, "body.echo"),
        ("/v1/completions", {"prompt": "a", "suffix": "b"}, "body.suffix"),
        ("/v1/responses", {"input": 5}, "body.input"),
        ("/v1/responses", {"input": [{"type": "item_reference", "id": "x"}]}, "body.input.0"),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "body.input.0.content.0",
        ),
        ("/v1/responses", {"input": "a", "tools": [{"type": "web_search"}]}, "body.tools.0"),
        ("/v1/responses", {"input": "a", "previous_response_id": "resp_1"}, "body.previous_response_id"),
        ("/v1/responses", {"input": "a", "max_output_tokens": 0}, "body.max_output_tokens"),
        ("/v1/embeddings", {"input": [1, 2]}, "body.input"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}, "body.encoding_format"),
        ("/v1/embeddings", {"input": "a", "dimensions": 5}, "body.dimensions"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_field(endpoint: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ENDPOINTS[endpoint].request(body)
    assert caught.value.field is not None
    assert caught.value.field.startswith(field)


def test_answers_are_what_openais_client_reads() -> None:
    chat = ChatCompletion.model_validate(answered("/v1/chat/completions", TEXT), strict=True)
    assert (chat.id, chat.choices[0].message.content, chat.choices[0].finish_reason) == (
        "chatcmpl-ab12",
        "반갑습니다",
        "stop",
    )
    assert chat.usage is not None
    assert (chat.usage.prompt_tokens, chat.usage.total_tokens) == (3, 7)
    called = ChatCompletion.model_validate(answered("/v1/chat/completions", TOOLS), strict=True).choices[0]
    assert called.message.tool_calls is not None
    assert (called.finish_reason, called.message.tool_calls[0].id) == ("tool_calls", "c1")
    assert Completion.model_validate(answered("/v1/completions", CUT), strict=True).choices[0].finish_reason == "length"


def test_responses_are_what_openais_client_reads() -> None:
    whole = Response.model_construct(**answered("/v1/responses", TEXT))
    assert (whole.id, whole.status, whole.object) == ("resp_ab12", "completed", "response")
    told = answered("/v1/responses", TEXT)
    assert told["output"][0]["content"][0]["text"] == "반갑습니다"
    assert told["usage"] == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    cut = answered("/v1/responses", CUT)
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    [call] = answered("/v1/responses", TOOLS)["output"]
    assert (call["type"], call["call_id"], call["name"]) == ("function_call", "c1", "날씨")


def test_vectors_are_what_openais_client_reads() -> None:
    given = {"vectors": [[0.5, 0.5], [1.0, 0.0]], "dimension": 2, "model": "m"}
    found = CreateEmbeddingResponse.model_validate(answered("/v1/embeddings", given), strict=True)
    assert [(one.index, one.embedding) for one in found.data] == [(0, [0.5, 0.5]), (1, [1.0, 0.0])]
