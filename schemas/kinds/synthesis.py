"""`synthesis`: a model writes questions about a collection's documents, and our own retrieval checks each of them."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.kinds.dataset import Similarity
from schemas.kinds.inference import TokenUsage
from schemas.models import DEFAULT
from schemas.names import CollectionName
from schemas.prompts import Language, PromptName

MAX_QUESTIONS: Final = 5_000

Flag = Literal[
    "failed", "unreadable", "nothing_to_ask", "duplicate", "language", "copied", "ungrounded", "not_retrieved"
]
"""Why a question is not accepted: its model failed, wrote something else, or found nothing to ask; another question is
nearly the same; it is in another language than its passage, or a sentence of it; the passage does not hold the answer;
a search does not find the passage."""


class SynthesisInput(BaseModel):
    """How many questions to have written about which collection, by which model.

    `count`: accepted questions, at most. A quarter more passages are read, because some questions are not accepted.
    `top_k`: among so many passages a search must find the one that a question is about. `similarity`: from which two
    questions are the same. `min_chars`: shorter passages are not asked about. `seed`: of the choice of passages.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    collection: CollectionName
    count: int = Field(100, ge=1, le=MAX_QUESTIONS)
    model: Annotated[str, Field(min_length=1, max_length=200)] = DEFAULT
    prompt: PromptName | None = Field(None, description="null: the default of the passage's language.")
    language: Language | None = Field(None, description="Of the prompt; null: the passage's.")
    max_tokens: int = Field(400, ge=1, le=8_192)
    temperature: float = Field(0.7, ge=0, le=2)
    top_k: int = Field(10, ge=1, le=100)
    similarity: Similarity = 0.8
    min_chars: int = Field(60, ge=1, le=10_000)
    seed: int = Field(0, ge=0, lt=2**31)


class SynthesisResult(BaseModel):
    """What was written. `passages`: those that the model was shown. `accepted`: questions in `questions_file`.

    `flags`: how many were not accepted, by reason; one may have several. `questions_file`: JSON Lines, the accepted
    ones, as an evaluation takes them. `review_file`: CSV, all of them with their passage and flags.
    """

    passages: int
    accepted: int
    flags: dict[str, int]
    model: str
    usage: TokenUsage
    questions_file: str
    review_file: str


class Sampled(BaseModel):
    """To `verify`: a blob of the passages, a JSON object a line, in the order of the children."""

    passages: str
    count: int


class Written(BaseModel):
    """To `report`: a blob of what was written, with its flags so far, and whether searches were made."""

    questions: str
    count: int
    searched: int
    model: str
    usage: TokenUsage
