"""What a benchmark asks of a model, one item at a time: the lines of its files."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_LINE_BYTES = 4 * 1024**2
MAX_TEXT_CHARS = 1_000_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_TOLERANT = ConfigDict(extra="ignore")
_Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class TextItem(BaseModel):
    """A text to predict. Other members of its line are ignored."""

    model_config = _TOLERANT

    text: str = Field(min_length=1, max_length=MAX_TEXT_CHARS)


class ChoiceItem(BaseModel):
    """A question with its choices. `answer`: the right one by its place from 0, its letter or its text.

    Other members of its line are ignored.
    """

    model_config = _TOLERANT

    question: _Text
    choices: list[_Text] = Field(min_length=2, max_length=len(LETTERS))
    answer: int | str

    @model_validator(mode="after")
    def _can_be_right(self) -> Self:
        self.right  # noqa: B018 - raises
        return self

    @property
    def right(self) -> int:
        """The place of the right choice, from 0. Raises `ValueError`."""
        if isinstance(self.answer, str):
            if self.choices.count(self.answer) == 1:
                return self.choices.index(self.answer)
            at = LETTERS.find(self.answer.strip().upper()) if len(self.answer.strip()) == 1 else -1
        else:
            at = self.answer
        if not 0 <= at < len(self.choices):
            raise ValueError(f"`answer` is {self.answer!r}: it must be a choice, its letter, or its place from 0")
        return at
