"""`inference`: answer a question from a collection, with citations; or only retrieve (`generate: null`)."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from schemas.names import CollectionName

MAX_QUESTION_CHARS = 8_000

Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION_CHARS)]
Scalar = str | int | float | bool


def _no_reranker_yet(value: bool) -> bool:
    if value:
        raise ValueError("this version has no reranker; leave `rerank` out or set it to false")
    return value


Rerank = Annotated[
    bool,
    AfterValidator(_no_reranker_yet),
    Field(description="No reranker is part of this version: only false is accepted."),
]


class Generate(BaseModel):
    """How to generate. `model` is `default`: the engine this deployment is configured with."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field("default", max_length=200)
    max_tokens: int = Field(256, ge=1, le=8192)
    temperature: float = Field(0.2, ge=0, le=2)


class InferenceInput(BaseModel):
    """A question and how to answer it.

    `filter` maps metadata fields of documents to a value, or to a list of values of which one must hold.
    """

    model_config = ConfigDict(extra="forbid")

    collection: CollectionName
    question: Question
    top_k: int = Field(5, ge=1, le=100, description="Passages to retrieve and to answer from.")
    rerank: Rerank = False
    filter: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict, max_length=16)
    generate: Generate | None = Field(default_factory=Generate, description="null: retrieve only.")


class Citation(BaseModel):
    """A quoted passage; `start`/`end` are character offsets in the document, `score` compares within one answer."""

    document_id: str
    chunk_id: str
    title: str | None = None
    text: str
    score: float
    scores: dict[str, float] = Field(default_factory=dict)
    start: int
    end: int
    metadata: dict[str, Any] = Field(default_factory=dict)


class TokenUsage(BaseModel):
    """Tokens an engine counted; 0 where no model ran."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class InferenceResult(BaseModel):
    """`found` is false when nothing retrieved answers the question; `timings_ms` in milliseconds by stage."""

    answer: str | None
    found: bool
    citations: list[Citation]
    model: str | None
    usage: TokenUsage = TokenUsage()
    timings_ms: dict[str, float] = Field(default_factory=dict)
