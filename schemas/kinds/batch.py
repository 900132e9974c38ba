"""`batch`: the lines of a file, each a job of its own, and one file of what became of them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from schemas.batches.window import window
from schemas.files import LONGEST_LIFE_S, SHORTEST_LIFE_S
from schemas.names import FileId


def _window(text: str) -> str:
    window(text)
    return text


Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/jobs"]
CompletionWindow = Annotated[str, AfterValidator(_window)]
BatchId = Annotated[str, StringConstraints(pattern=r"^batch_[0-9a-f]{32}$")]


class BatchInput(BaseModel):
    """A file of requests. `retry_of`: do again what did not succeed in that batch, instead of reading the file."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    input_file_id: FileId
    endpoint: Endpoint
    completion_window: CompletionWindow = Field("24h", description="1s to 30d: what is not done by then is cut off.")
    retry_of: BatchId | None = None
    output_lives_s: int | None = Field(
        None, ge=SHORTEST_LIFE_S, le=LONGEST_LIFE_S, description="Seconds until its files expire; null: never."
    )


class LineCounts(BaseModel):
    """`failed` counts the lines that were cut off, too."""

    total: int
    completed: int
    failed: int


class BatchResult(BaseModel):
    """The files that a batch leaves. One without lines is null."""

    request_counts: LineCounts
    output_file_id: str | None
    error_file_id: str | None


class Checked(BaseModel):
    """From `check` to `assemble`: how many lines there are."""

    lines: int
