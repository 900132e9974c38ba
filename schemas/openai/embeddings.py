"""`/v1/embeddings` is kind `embedding`: https://platform.openai.com/docs/api-reference/embeddings."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.kinds.embedding import EmbeddingInput
from schemas.openai.bodies import checked, relevant, renamed, usage

NEUTRAL: Final[Mapping[str, Any]] = {"encoding_format": "float"}


def request(body: Mapping[str, Any]) -> EmbeddingInput:
    """The texts of a request: one, or a list. Raises `InvalidInput` with the field."""
    given = renamed(relevant(body, NEUTRAL), {"input": "texts"})
    if isinstance(given.get("texts"), str):
        given["texts"] = [given["texts"]]
    return checked(EmbeddingInput, given, {"texts": "input"})


def answer(result: Mapping[str, Any], id: str, created: int) -> dict[str, Any]:
    """The list of embeddings of an `EmbeddingResult`. Tokens are not counted here: `usage` is 0."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(result["vectors"])
        ],
        "model": result["model"],
        "usage": {name: count for name, count in usage(None).items() if name != "completion_tokens"},
    }
