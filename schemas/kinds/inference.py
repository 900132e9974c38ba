"""`inference`: answer a question from a collection, with citations; or only retrieve (`generate: null`)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.filters import Filter
from schemas.kinds.formats import ResponseFormat
from schemas.names import CollectionName
from schemas.prompts import PromptName, VariableName, VariableValue
from schemas.retrieval import Embedding, FinishReason, Passage

MAX_QUESTION_CHARS = 8_000

Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION_CHARS)]


class Generate(BaseModel):
    """How to generate. `model` is `default`: the engine this deployment is configured with."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    model: str = Field("default", max_length=200)
    max_tokens: int = Field(256, ge=1, le=8192)
    temperature: float = Field(0.2, ge=0, le=2)
    stream: bool = Field(False, description="Send the answer while it is written, as events of the job.")
    prompt: PromptName | None = Field(
        None, description="A prompt, `name` or `name@version`; null: the default of the question's language."
    )
    variables: dict[VariableName, VariableValue] = Field(
        default_factory=dict, max_length=50, description="What the prompt leaves to the request."
    )
    response_format: ResponseFormat | None = Field(None, description="The form of the answer, as for `generation`.")

    @model_validator(mode="after")
    def _variables_belong_to_a_prompt(self) -> "Generate":
        if self.variables and self.prompt is None:
            raise ValueError("variables: name the `prompt` that has them")
        return self


class Turn(BaseModel):
    """A turn of the conversation before the question."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    role: Literal["user", "assistant"]
    content: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]


class InferenceInput(BaseModel):
    """A question and how to answer it. `filter`: conditions on the metadata of documents, see `schemas/filters.py`."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    collection: CollectionName
    question: Question
    messages: list[Turn] = Field(
        default_factory=list,
        max_length=100,
        description="The conversation before the question, oldest first. A model condenses it for the search.",
    )
    top_k: int = Field(5, ge=1, le=100, description="Passages to retrieve and to answer from.")
    rerank: bool | None = Field(None, description="null: if the deployment has a reranker.")
    filter: Filter = Field(default_factory=dict)
    generate: Generate | None = Field(default_factory=Generate, description="null: retrieve only.")
    retrieved: bool = Field(
        False, description="Name all passages that the answer was made from in the result, not only the cited ones."
    )


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


class Retrieved(BaseModel):
    """A passage that was retrieved, cited or not."""

    document_id: str
    chunk_id: str
    text: str
    score: float


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
    search_question: str | None = Field(None, description="What was searched for, where a model condensed `messages`.")
    timings_ms: dict[str, float] = Field(default_factory=dict)
    retrieved: list[Retrieved] | None = Field(
        None, description="What the answer was made from, best first, if the request asks for it."
    )


class Asked(BaseModel):
    """What goes with a job from stage to stage. `search_question`: the condensed one; None means the question itself.

    `condensed`: nothing is left to condense. `usage`: of condensing. `timings_ms` as in the result.
    """

    search_question: str | None = None
    condensed: bool = False
    usage: TokenUsage = TokenUsage()
    timings_ms: dict[str, float] = Field(default_factory=dict)


class ToEncode(Asked):
    """From `retrieve` to `encode`: the model that the collection was made with."""

    embedder: str


class Resumed(Asked):
    """Back to `retrieve`: from `generate` with the question condensed, or from `encode` with its vectors."""

    embedder: str | None = None
    embedding: Embedding | None = None


class Found(Asked):
    """To `rerank`: the passages, best first."""

    passages: list[Passage]


class ToGenerate(Asked):
    """To `generate`: the passages, best first. None: nothing is searched yet, the question is to be condensed."""

    passages: list[Passage] | None
