"""What an indexing job hands to its children: a part of what is to be added, or of what is to be rebuilt."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.kinds.indexing import DocumentFormat
from schemas.names import CollectionName


class PartInput(BaseModel):
    """A child that adds documents: `part` is the blob key of them, one JSON object a line.

    `version` is the job's: when two jobs write one document, the higher version wins. `long`: it is one text that is
    longer than a part of several may be. `rows`: a process that reads tables wrote the lines, and nobody has looked at
    them since: none of them may name a blob.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    collection: CollectionName
    part: str
    version: int
    long: bool = False
    rows: bool = False


class RebuildInput(BaseModel):
    """A child of a rebuild: the documents whose ids come after `after`, up to `last`, for the index `generation`."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    collection: CollectionName
    generation: int
    after: str
    last: str


class PartDocument(BaseModel):
    """A line of a part: a document's text, or the blob key of the file that holds it."""

    id: str
    title: str | None = None
    text: str | None = None
    blob: str | None = None
    filename: str | None = None
    format: DocumentFormat | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartLine:
    """A document of a part as the line that will be stored, without a line break; `chars`: of its text, about."""

    id: str
    chars: int
    line: bytes
