"""`/v1/completions` is kind `generation`: its prompt is the only message of a conversation."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.errors import InvalidInput
from schemas.kinds.generation import GenerationInput
from schemas.openai.bodies import checked, relevant, usage

NEUTRAL: Final[Mapping[str, Any]] = {
    "best_of": 1,
    "echo": False,
    "frequency_penalty": 0,
    "n": 1,
    "presence_penalty": 0,
    "stream": False,
}


def request(body: Mapping[str, Any]) -> GenerationInput:
    """The conversation of a request. Raises `InvalidInput` with the field."""
    given = relevant(body, NEUTRAL)
    prompt = given.pop("prompt", None)
    if not isinstance(prompt, str):
        raise InvalidInput("give one text", field="body.prompt")
    return checked(
        GenerationInput, {**given, "messages": [{"role": "user", "content": prompt}]}, {"messages": "prompt"}
    )


def answer(result: Mapping[str, Any], id: str, created: int) -> dict[str, Any]:
    """The completion of a `GenerationResult`. `created`: Unix seconds."""
    text = result["message"].get("content") or ""
    return {
        "id": f"cmpl-{id}",
        "object": "text_completion",
        "created": created,
        "model": result["model"],
        "choices": [
            {"index": 0, "text": text, "finish_reason": result.get("finish_reason") or "stop", "logprobs": None}
        ],
        "usage": usage(result.get("usage")),
    }
