"""`dataset`: how good a dataset is, row by row and as figures, before anything is evaluated or trained with it."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.kinds.evaluation.items import Dataset
from schemas.names import CollectionName
from schemas.tracking import ExperimentName, Tracking

MAX_ROWS: Final = 200_000
"""Sketches of so many rows take 100 MB of memory."""

MAX_FINDINGS: Final = 3
"""Findings of each code that the result itself shows; the file has all."""

Form = Literal["questions", "sft", "dpo", "orpo", "kto"]
"""What a row is: a question of an evaluation, or an example for one of the methods of `training`."""

Code = Literal[
    "invalid",
    "duplicate",
    "near_duplicate",
    "contradiction",
    "empty",
    "language",
    "length",
    "characters",
    "markup",
    "repetition",
    "echo",
    "leaked",
    "nearly_leaked",
    "not_retrieved",
    "relevant_unknown",
]
Part = Literal["valid", "unique", "complete", "language", "clean", "apart", "answerable"]

PARTS: Final[Mapping[Part, tuple[Code, ...]]] = {
    "valid": ("invalid",),
    "unique": ("duplicate", "near_duplicate", "contradiction"),
    "complete": ("empty",),
    "language": ("language",),
    "clean": ("length", "characters", "markup", "repetition", "echo"),
    "apart": ("leaked", "nearly_leaked"),
    "answerable": ("not_retrieved", "relevant_unknown"),
}
"""The parts of the score, each with the findings that lower it."""

Similarity = Annotated[float, Field(ge=0.5, le=1)]


class DatasetInput(BaseModel):
    """What to check. `against`: another dataset, from which this one must be apart, as a test set from training data.

    `collection`: where our own retrieval looks for what answers each question, among `top_k` passages. `similarity`:
    the Jaccard similarity of character trigrams from which two rows are near duplicates. `min_score`: with a lower
    score the dataset does not pass. `experiment`: of the tracker, where the deployment has one.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    dataset: Dataset
    form: Literal["auto"] | Form = Field("auto", description="auto: the names of the columns say it.")
    against: Dataset | None = None
    collection: CollectionName | None = None
    top_k: int = Field(10, ge=1, le=100)
    similarity: Similarity = 0.85
    min_score: float = Field(0.0, ge=0, le=1)
    experiment: ExperimentName = "datasets"
    title: str | None = Field(None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _only_questions_are_retrieved(self) -> Self:
        if self.collection is not None and self.form not in ("auto", "questions"):
            raise ValueError("`collection` is for questions: leave it out for examples of a training")
        return self


class Finding(BaseModel):
    """What is wrong with a row. `row`: its number from 1. `code`: a `Code`, of whatever version.

    `other`: the row that it repeats, there or in `against`.
    """

    row: int
    code: str
    message: str
    id: str | None = None
    other: int | None = None
    similarity: float | None = None


class Lengths(BaseModel):
    """Characters of a column, over the rows that have it."""

    rows: int
    mean: float
    min: int
    p05: int
    p25: int
    p50: int
    p75: int
    p95: int
    max: int


class Retrieval(BaseModel):
    """Questions that were looked for in the collection. `failed`: searches that ended with an error."""

    asked: int
    found: int
    failed: int


class DatasetResult(BaseModel):
    """How good the dataset is. `score`: the share of rows with which nothing is wrong; `parts`: the same in one
    respect, null where it was not looked at. `counts`: rows by finding; `findings`: the first rows of each.

    `languages`: rows by language, told by their letters. `sha256`: of the file. `passed`: every row is valid, none is
    in `against` too, and the score is at least `min_score`. `findings_file`: JSON Lines, a finding a line.
    """

    form: Form
    rows: int
    sha256: str
    score: float
    parts: dict[str, float | None]
    passed: bool
    counts: dict[str, int]
    findings: list[Finding]
    lengths: dict[str, Lengths]
    languages: dict[str, int]
    retrieval: Retrieval | None = None
    warnings: list[str] = Field(default_factory=list)
    findings_file: str
    tracking: Tracking | None = None


class Profiled(BaseModel):
    """From `profile` to `report`: the figures, where the findings lie (a blob, JSON Lines), and how many questions are
    looked for (`questions`: a blob of these, in the order of the children)."""

    form: Form
    rows: int
    sha256: str
    findings: str
    lengths: dict[str, Lengths]
    languages: dict[str, int]
    questions: str | None = None
    asked: int = 0
    warnings: list[str] = Field(default_factory=list)
