"""The endpoints whose requests a kind of work answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from schemas.openai import chat, completions, embeddings, responses


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a request of an endpoint becomes a job, and the job's result an answer.

    `request` reads the body and raises `InvalidInput` with the field. `answer` gets a result, the hex digits of the
    job's id and the time of its end in Unix seconds.
    """

    kind: str
    request: Callable[[Mapping[str, Any]], BaseModel]
    answer: Callable[[Mapping[str, Any], str, int], dict[str, Any]]


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "/v1/chat/completions": Endpoint("generation", chat.request, chat.answer),
    "/v1/completions": Endpoint("generation", completions.request, completions.answer),
    "/v1/responses": Endpoint("generation", responses.request, responses.answer),
    "/v1/embeddings": Endpoint("embedding", embeddings.request, embeddings.answer),
}
