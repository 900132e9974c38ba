"""The rows of a training dataset, in the one form that training takes: turns of a conversation."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_DATASET_BYTES: Final = 4 * 1024**3
MAX_CONTENT_CHARS: Final = 1_000_000
MAX_TURNS: Final = 2_000


class Turn(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=MAX_CONTENT_CHARS)


Turns = list[Turn]


class Example(BaseModel):
    """What to learn from: `completion` is right (SFT), or is `label`led good or bad (KTO), or `chosen` is better than
    `rejected` (DPO, ORPO). `row`: its place in the dataset, from 1; a conversation of several answers makes several.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    row: int = Field(ge=1)
    prompt: Turns = Field(min_length=1, max_length=MAX_TURNS)
    completion: Turns | None = None
    chosen: Turns | None = None
    rejected: Turns | None = None
    label: bool | None = None

    def line(self) -> bytes:
        """The example as a line of the file that training reads, without its place."""
        return self.model_dump_json(exclude={"row"}, exclude_none=True).encode() + b"\n"


class ExampleProblem(BaseModel):
    """Why a row is no example."""

    row: int
    message: str
