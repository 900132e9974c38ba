"""The items of a dataset: questions with what is known about them."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.kinds.inference import Question
from schemas.names import Composed, FileId, no_control_characters

MAX_ITEMS: Final = 50_000
MAX_INLINE_ITEMS: Final = 1_000
MAX_DATASET_BYTES: Final = 200_000_000
"""As OpenAI's batches; items are held in memory while their questions are made."""

MAX_REFERENCE_CHARS: Final = 20_000

ItemId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), Composed]
Reference = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REFERENCE_CHARS)]
Value = (
    Annotated[str, StringConstraints(max_length=2_000)]
    | bool
    | Annotated[int, Field(ge=-(2**63), lt=2**63)]
    | Annotated[float, Field(allow_inf_nan=False)]
)
Column = Annotated[str, StringConstraints(min_length=1, max_length=200), Composed]


class Item(BaseModel):
    """One question. `references`: answers that are right; the best one counts. `relevant`: ids of documents.

    `answerable`: whether the collection holds an answer; where it does not, "not found" is right. `document`: what the
    question is about: questions of one document are not independent, so intervals draw them together. `row`: its place
    in the dataset, from 1.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    id: ItemId
    row: int = Field(ge=1)
    question: Question
    references: list[Reference] = Field(default_factory=list, max_length=32)
    relevant: list[ItemId] = Field(default_factory=list, max_length=1_000)
    answerable: bool = True
    document: str | None = Field(None, max_length=200)
    metadata: dict[str, Value] = Field(default_factory=dict, max_length=32)


class ItemProblem(BaseModel):
    """Why a row of a dataset is no item."""

    row: int
    code: Literal["row_invalid", "id_repeated", "reference_missing"]
    message: str


class InlineItem(BaseModel):
    """An item within a submission. `id` defaults to its place, from 1."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    id: ItemId | None = None
    question: Question
    reference: Reference | Annotated[list[Reference], Field(max_length=32)] | None = None
    relevant: list[ItemId] = Field(default_factory=list, max_length=1_000)
    answerable: bool = True
    document: str | None = Field(None, max_length=200)
    metadata: dict[str, Value] = Field(default_factory=dict, max_length=32)

    def item(self, row: int) -> Item:
        """The item at this place."""
        given: dict[str, Any] = self.model_dump(exclude={"id", "reference"})
        references = [self.reference] if isinstance(self.reference, str) else self.reference or []
        return Item(id=self.id or str(row), row=row, references=references, **given)


class Dataset(BaseModel):
    """An uploaded table of items, and the names of its columns.

    A column that is not named is `question`, `reference`, `relevant`, `id`, `answerable` or `document` if there is one
    of that name; only the question must be there. Columns in `metadata` are kept for breakdowns; in JSON Lines, so are
    the members of an object `metadata`.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    file: FileId
    format: Literal["jsonl", "csv", "tsv", "parquet"] | None = Field(None, description="null: the file name says it.")
    question: Column = "question"
    reference: Column | None = None
    relevant: Column | None = None
    id: Column | None = None
    answerable: Column | None = None
    document: Column | None = None
    metadata: list[Column] = Field(default_factory=list, max_length=32)

    @model_validator(mode="after")
    def _names_are_plain(self) -> Self:
        for name in self.required():
            no_control_characters(name)
        return self

    def required(self) -> list[str]:
        """The columns that must be there."""
        named = [self.question, self.reference, self.relevant, self.id, self.answerable, self.document, *self.metadata]
        return list(dict.fromkeys(name for name in named if name is not None))

    def optional(self) -> list[str]:
        """The columns that are read if they are there."""
        return [name for name in ("reference", "relevant", "id", "answerable", "document") if not getattr(self, name)]
