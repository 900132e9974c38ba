"""What is known of files, collections and documents, between Postgres and the stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from schemas.collections import CollectionSettings
from schemas.retrieval import DocumentVersion
from schemas.watermarks import Change, Doubt

MAX_FIELDS: Final = 1_000
"""How many metadata fields a collection remembers."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that its tenant can name. `blob` is the key of its bytes, `size` counts them, `sha256` is their digest."""

    blob: str
    filename: str
    purpose: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is indexed. `source` is where its parsed text lies: blob key, byte offset, length.

    `version` is that of the job that wrote it: when two jobs write one document, the one planned later wins.
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
        """The content hash that its points carry."""
        return stamp(self.content_hash, self.version)


def stamp(content_hash: str, version: int) -> str:
    """The content hash of a document's points: when two jobs write the same content, only one job's points hold."""
    return f"{content_hash}.{version}"


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """One physical index of a collection, and what its vectors are made with.

    `dimension` and `learned` are known once the first point is written.
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
    apart. `doubt`: why the index that is searched does not hold what the catalogue says. `state` is another text as
    soon as anything here changes, except what is being built.
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
    doubt: Doubt | None = None
    state: str = ""

    @property
    def current(self) -> IndexRecord:
        """The index that is searched."""
        return IndexRecord(self.generation, self.settings, self.encoder, self.embedder, self.dimension, self.learned)


@dataclass(frozen=True, slots=True)
class Holding:
    """What holds now: the `state` of a collection, None where there is none, and the stamps of some of its documents.

    Unknown and deleted documents have no stamp.
    """

    state: str | None
    stamps: Mapping[str, str]


class Standing(StrEnum):
    """The state of an index for a job that writes into it. It decides whether the job's writes count."""

    NAMED = "named"
    """The collection names the index: what is recorded holds."""
    MOVED = "moved"
    """Searches now use another index: prepare the documents for that one."""
    GONE = "gone"
    """The collection was dropped after the job was planned, and perhaps created again."""
    SEALED = "sealed"
    """A rebuild is about to end: write again in a moment."""
    SOURCE_LOST = "source_lost"
    """The parsed text was kept for a day without being recorded, and is gone: prepare the documents again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The effect of a write to the catalogue.

    `changed` are the ids of documents that now are as the job wants them; a job planned later had spoken for the
    others. `now` is what holds of each document, for `VectorIndex.prune` of the index `generation`. `added` are the ids
    that the collection did not have until this job wrote them: however many jobs write one id at once, one added it.
    `change` is the number of this write, for `prune` too; None where nothing was written.
    """

    standing: Standing
    generation: int = 0
    changed: frozenset[str] = frozenset()
    now: Sequence[DocumentVersion] = field(default_factory=tuple)
    added: frozenset[str] = frozenset()
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A document whose points an index being built lacks, or still has although the document was deleted."""

    id: str
    version: int
    content_hash: str
    bytes: int
    source: tuple[str, int, int] | None
    deleted: bool
