"""`/v1/chat/completions` is kind `generation`: https://platform.openai.com/docs/api-reference/chat."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.kinds.generation import GenerationInput
from schemas.openai.bodies import checked, relevant, renamed, usage

NEUTRAL: Final[Mapping[str, Any]] = {
    "frequency_penalty": 0,
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "presence_penalty": 0,
    "stream": False,
}


def request(body: Mapping[str, Any]) -> GenerationInput:
    """The conversation of a request. Raises `InvalidInput` with the field."""
    return checked(GenerationInput, renamed(relevant(body, NEUTRAL), {"max_completion_tokens": "max_tokens"}))


def answer(result: Mapping[str, Any], id: str, created: int) -> dict[str, Any]:
    """The chat completion of a `GenerationResult`. `created`: Unix seconds."""
    message = result["message"]
    told = {"role": "assistant", "content": message.get("content"), "refusal": message.get("refusal")}
    if message.get("tool_calls"):
        told["tool_calls"] = message["tool_calls"]
    return {
        "id": f"chatcmpl-{id}",
        "object": "chat.completion",
        "created": created,
        "model": result["model"],
        "choices": [
            {"index": 0, "message": told, "finish_reason": result.get("finish_reason") or "stop", "logprobs": None}
        ],
        "usage": usage(result.get("usage")),
    }
