"""What clients are shown of files, in OpenAI's shape."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel


class FileView(BaseModel):
    """A file. `bytes` is its size, `sha256` the hex digest of its content."""

    id: str
    object: Literal["file"] = "file"
    filename: str
    purpose: str
    bytes: int
    sha256: str
    created_at: datetime


class FilePage(BaseModel):
    """Files, newest first."""

    data: list[FileView]
    has_more: bool
