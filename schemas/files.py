"""Files in OpenAI's shape: what they are for, when they expire, and what clients are shown of them."""

from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Purpose = Literal["assistants", "batch", "evals", "fine-tune", "user_data", "vision", "adapter", "corpus", "documents"]
"""What an upload may be for: OpenAI's purposes, and ours for adapters and indexing. What jobs make has others."""

PURPOSES: Final[tuple[str, ...]] = get_args(Purpose)
DEFAULT_PURPOSE: Final = "documents"

SHORTEST_LIFE_S: Final = 3600
LONGEST_LIFE_S: Final = 30 * 24 * 3600
LIFE_S: Final = {"batch": LONGEST_LIFE_S}
"""The default lifetime of files, by purpose, where it is not unlimited."""


class ExpiresAfter(BaseModel):
    """When a file expires, counted from when it is complete."""

    model_config = ConfigDict(extra="forbid", strict=True)

    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST_LIFE_S, le=LONGEST_LIFE_S)


LISTED_AT_MOST: Final = 10_000
"""OpenAI's largest `limit`, and its default."""

A_PAGE: Final = 1_000
"""Files in one page, however many were asked for: `has_more` says that there are others."""


class FileView(BaseModel):
    """A file. `bytes` is its size, `sha256` the hex digest of its content; times are Unix seconds.

    `status` is always `processed`: a file is shown once it is stored whole.
    """

    id: str
    object: Literal["file"] = "file"
    filename: str
    purpose: str
    bytes: int
    sha256: str
    created_at: int
    expires_at: int | None
    status: Literal["processed"] = "processed"


class FilePage(BaseModel):
    """Files in the order asked for; pass `last_id` as `after` for the next page."""

    object: Literal["list"] = "list"
    data: list[FileView]
    has_more: bool
    first_id: str | None
    last_id: str | None
