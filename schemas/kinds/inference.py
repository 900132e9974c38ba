"""`inference`: answer a question from a collection, with citations; or only retrieve (`generate: null`)."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.filters import Filter
from schemas.names import CollectionName
from schemas.retrieval import Embedding, FinishReason, Passage

MAX_QUESTION_CHARS = 8_000

Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION_CHARS)]


class Generate(BaseModel):
    """How to generate. `model` is `default`: the engine this deployment is configured with."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field("default", max_length=200)
    max_tokens: int = Field(256, ge=1, le=8192)
    temperature: float = Field(0.2, ge=0, le=2)
    stream: bool = Field(False, description="Send the answer while it is written, as events of the job.")


class InferenceInput(BaseModel):
    """A question and how to answer it. `filter`: conditions on the metadata of documents, see `schemas/filters.py`."""

    model_config = ConfigDict(extra="forbid")

    collection: CollectionName
    question: Question
    top_k: int = Field(5, ge=1, le=100, description="Passages to retrieve and to answer from.")
    rerank: bool | None = Field(None, description="null: if the deployment has a reranker.")
    filter: Filter = Field(default_factory=dict)
    generate: Generate | None = Field(default_factory=Generate, description="null: retrieve only.")


class Citation(BaseModel):
    """A quoted passage; `start`/`end` are character offsets in the document, `score` compares within one answer.

    `heading` is the path of headings it stands under, `page` the 1-based page it begins on.
    """

    document_id: str
    chunk_id: str
    title: str | None = None
    text: str
    score: float
    scores: dict[str, float] = Field(default_factory=dict)
    start: int
    end: int
    metadata: dict[str, Any] = Field(default_factory=dict)
    heading: str | None = None
    page: int | None = None
    streamed_as: int | None = Field(None, description="Its number in the text as it was streamed, if it was.")


class TokenUsage(BaseModel):
    """Tokens an engine counted; 0 where no model ran."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class InferenceResult(BaseModel):
    """`found` is false when no retrieved passage answers the question; `timings_ms` in milliseconds by stage."""

    answer: str | None
    found: bool
    citations: list[Citation]
    model: str | None
    usage: TokenUsage = TokenUsage()
    finish_reason: FinishReason | None = Field(
        None, description="`length`: the answer was cut at `max_tokens`. null: no model wrote it, or it did not say."
    )
    citations_dropped: int = Field(0, description="Numbers the model cited that belong to no passage; not in the text.")
    timings_ms: dict[str, float] = Field(default_factory=dict)


class ToEncode(BaseModel):
    """From `retrieve` to `encode`: the model that the collection was made with. `timings_ms` as in the result."""

    embedder: str
    timings_ms: dict[str, float]


class Encoded(ToEncode):
    """From `encode` back to `retrieve`: the question's vectors."""

    embedding: Embedding


class Found(BaseModel):
    """To `rerank` and `generate`: the passages, best first."""

    passages: list[Passage]
    timings_ms: dict[str, float]
