"""What is known of files, collections and documents, between Postgres and the stages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from schemas.collections import CollectionSettings
from schemas.retrieval import DocumentVersion

MAX_FIELDS: Final = 1_000
"""Metadata fields that are kept of a collection."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that its tenant can name. `blob` is the key of its bytes, `size` counts them."""

    blob: str
    filename: str
    purpose: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is indexed. `source` is where its parsed text lies: blob key, byte offset, length.

    `version` is of the job that wrote it: of two jobs that write one document, the one planned later wins.
    `content_hash` covers its title, text and metadata.
    """

    id: str
    version: int
    content_hash: str
    chunks: int
    bytes: int
    source: tuple[str, int, int]

    @property
    def stamp(self) -> str:
        """What its points carry as their content hash."""
        return stamp(self.content_hash, self.version)


def stamp(content_hash: str, version: int) -> str:
    """The content hash of a document's points: of two jobs that write the same content, only one's points hold."""
    return f"{content_hash}.{version}"


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """One physical index of a collection: what its vectors are made with.

    `dimension` and `learned` are known as soon as the first point was written.
    """

    generation: int
    settings: CollectionSettings
    encoder: str
    embedder: str | None
    dimension: int | None
    learned: bool


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection as the catalogue has it. `generation` is the index that is searched, with what it is made with.

    While the collection is being rebuilt, `building` is the index that will be, filled by the job `building_job`.
    `documents`: whether it has any.
    `fields` are the metadata fields its documents have had, `MAX_FIELDS` at most. `born` tells collections of one name
    apart.
    """

    name: str
    settings: CollectionSettings
    encoder: str
    embedder: str | None
    dimension: int | None
    learned: bool
    generation: int
    building: IndexRecord | None
    building_job: UUID | None
    documents: bool
    fields: frozenset[str]
    born: int

    @property
    def current(self) -> IndexRecord:
        """The index that is searched."""
        return IndexRecord(self.generation, self.settings, self.encoder, self.embedder, self.dimension, self.learned)


class Standing(StrEnum):
    """How an index stands to a job that writes into it, and so what becomes of what the job wrote."""

    NAMED = "named"
    """The collection names the index: what is recorded holds."""
    MOVED = "moved"
    """The collection is searched in another index by now: prepare the documents for that one."""
    GONE = "gone"
    """The collection was dropped after the job was planned, and perhaps made anew."""
    SEALED = "sealed"
    """A rebuild is about to end: write again in a moment."""
    SOURCE_LOST = "source_lost"
    """The parsed text was kept for a day without being recorded, and is gone: prepare the documents again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a write to the catalogue came to.

    `changed` are the ids of documents that are as the job wants them; for the others a job that was planned later had
    spoken. `now` is what holds of each document, for `VectorIndex.prune` of the index `generation`. `added` are the ids
    that the collection did not have until this job wrote them: however many jobs write one id at once, one added it.
    """

    standing: Standing
    generation: int = 0
    changed: frozenset[str] = frozenset()
    now: Sequence[DocumentVersion] = field(default_factory=tuple)
    added: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A document whose points are missing in an index that is being built, or still there though it was deleted."""

    id: str
    version: int
    content_hash: str
    bytes: int
    source: tuple[str, int, int] | None
    deleted: bool
