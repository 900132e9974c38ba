"""What stages may ask of the outside world. One protocol per outside thing; `infra/` holds the adapters.

Every method may raise `schemas.errors.DependencyUnavailable` when the thing behind it does not answer.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from schemas.catalogue import CollectionRecord as CollectionRecord
from schemas.catalogue import IndexRecord, Recorded, Standing, Unbuilt
from schemas.catalogue import StoredDocument as StoredDocument
from schemas.collections import Chunking, CollectionSettings, FusionSettings, SparseSettings
from schemas.filters import Condition
from schemas.retrieval import (
    DocumentVersion,
    Embedding,
    GeneratedAnswer,
    IndexName,
    ParsedDocument,
    Passage,
    Point,
    Query,
    Sentence,
    SparseVector,
)


class Blobs(Protocol):
    """Object storage: immutable bytes under `/`-separated keys."""

    async def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Store `data` under `key`, replacing what was there; visible whole or not at all."""

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "application/octet-stream"
    ) -> int:
        """Store a stream of unknown length without holding it in memory; returns the bytes stored.

        When `chunks` raises, nothing is stored and the exception passes through.
        """

    async def get(self, key: str) -> bytes:
        """The bytes under `key`. Raises `NotFound`."""

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes under `key` from byte `start`, at most `length` of them, in pieces. Raises `NotFound`."""

    async def delete(self, prefix: str) -> int:
        """Remove every key that equals `prefix` or lies under `prefix/`; returns how many. Absent is no error."""

    async def check(self) -> None:
        """Raise `DependencyUnavailable` unless the store can be written to."""


class SparseEncoder(Protocol):
    """Turns text into term weights whose dot product, with IDF from the index, is BM25."""

    @property
    def name(self) -> str:
        """Names the way terms are taken from text; recorded with a collection."""

    def analyse(
        self, texts: Sequence[str], settings: SparseSettings, chunking: Chunking | None = None
    ) -> list[list[Sentence]]:
        """The sentences of each text with their terms, in one pass of the analyser, on all cores it was given.

        Every character that is not white space lies in exactly one sentence. Given `chunking`, which `chunk` needs,
        a sentence that is larger than a chunk may be comes as several. Blocking and CPU-bound.
        """

    def weigh(self, pieces: Iterable[Sequence[int]], settings: SparseSettings) -> SparseVector:
        """Saturated term frequencies of a chunk: of the terms of its sentences, title and heading together."""

    def encode_query(self, text: str, settings: SparseSettings) -> SparseVector:
        """A weight for each distinct term, synonyms included. Empty when the text holds no content. Blocking."""


class Embedder(Protocol):
    """Turns text into unit-length dense vectors, many jobs' texts in one batch."""

    @property
    def name(self) -> str:
        """The model's name, with every setting that changes its vectors; recorded with a collection."""

    @property
    def dimension(self) -> int:
        """Length of each dense vector."""

    @property
    def learned(self) -> bool:
        """Whether the model gives sparse vectors of its own too."""

    async def embed_documents(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text. What was embedded before comes from the cache."""

    async def embed_query(self, text: str) -> Embedding:
        """The embedding of a query."""

    async def close(self) -> None:
        """Let go of connections."""


class Reranker(Protocol):
    """Reads question and passage together, for a better order of few passages."""

    @property
    def name(self) -> str:
        """The model's name."""

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        """A relevance in 0..1 for each text. Pairs of several jobs share a batch."""

    async def close(self) -> None:
        """Let go of connections."""


class DocumentParser(Protocol):
    """Turns an uploaded file or a submitted text into plain text."""

    async def parse(self, source: Path | str, *, format: str | None, filename: str | None) -> ParsedDocument:
        """Plain text, title, headings and pages of a file (`Path`) or of a submitted text (`str`).

        `format` is guessed from `filename` and content when None. What is no plain text is parsed in a process of its
        own, with limits of time and memory. Raises `DocumentRefused` with a code and a remedy.
        """

    async def close(self) -> None:
        """Let go of the processes."""


class VectorIndex(Protocol):
    """Chunks by physical index. An index belongs to one tenant and is invisible to others."""

    async def ensure(self, index: IndexName, *, dimension: int | None, learned: bool = False) -> None:
        """Create the index unless it exists. `dimension` is that of its dense vectors, None for sparse only.

        Raises `Conflict` when it exists with other arms.
        """

    async def upsert(self, index: IndexName, points: Sequence[Point]) -> None:
        """Write points; one with a known id replaces it. Durable on return. Raises `NotFound`."""

    async def prune(self, index: IndexName, documents: Sequence[DocumentVersion]) -> None:
        """Of each document, remove the points of another content and a lower version. Absent is no error."""

    async def search(
        self,
        index: IndexName,
        query: Query,
        *,
        top_k: int,
        fusion: FusionSettings,
        filter: Condition | None = None,
    ) -> list[Passage]:
        """The `top_k` best chunks, best first. An index that does not exist raises `NotFound`."""

    async def count(self, index: IndexName) -> int:
        """How many chunks the index holds; 0 when it does not exist."""

    async def drop(self, index: IndexName) -> None:
        """Remove the index. Absent is no error."""

    async def check(self) -> None:
        """Raise `DependencyUnavailable` unless the index answers."""

    async def close(self) -> None:
        """Flush and let go of what is held."""


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to generate: tokens at most, sampling temperature in 0..2."""

    max_tokens: int = 256
    temperature: float = 0.2


class Generator(Protocol):
    """Answers a question from passages."""

    @property
    def name(self) -> str:
        """What the result names as `model`."""

    async def generate(self, question: str, passages: Sequence[Passage], options: GenerationOptions) -> GeneratedAnswer:
        """An answer whose citations are a subset of `passages`, or an honest "not found" (`found=False`)."""

    async def close(self) -> None:
        """Let go of connections and models."""


class Catalogue(Protocol):
    """Which collections and documents exist, with their versions. Postgres behind it; its statements are the fence."""

    async def collection(self, tenant: str, name: str) -> CollectionRecord:
        """The collection. Raises `NotFound` (`collection_not_found`)."""

    async def current(self, tenant: str, name: str, ids: Sequence[str]) -> dict[str, str]:
        """The content hash that the points of each of these documents have now.

        One that is unknown or deleted is left out: a hit whose hash is not this one is not shown.
        """

    async def file_key(self, tenant: str, file_id: str) -> tuple[str, str]:
        """The blob key and file name of an uploaded file. Raises `NotFound`."""

    async def begin(
        self,
        job: UUID,
        tenant: str,
        name: str,
        *,
        settings: CollectionSettings | None,
        encoder: str,
        embedder: str | None,
    ) -> tuple[CollectionRecord, int]:
        """The collection and the job's version, the same whenever the job asks again.

        A collection that does not exist is made, unless `settings` is None: then `NotFound`.
        """

    async def documents(self, tenant: str, name: str, ids: Sequence[str]) -> dict[str, StoredDocument]:
        """The known ones among `ids` that are not deleted."""

    async def touch(self, tenant: str, name: str, version: int, hashes: Mapping[str, str]) -> set[str]:
        """Say that the documents are as `version` wants them, where they have that content hash; the ids that do."""

    async def add_fields(self, tenant: str, name: str, fields: Collection[str]) -> None:
        """Metadata fields that documents are about to have."""

    async def expect_source(self, blob: str) -> None:
        """Say that a blob of parsed texts is about to be written; `record` must name it within a day."""

    async def standing(self, tenant: str, name: str, generation: int, version: int) -> Standing:
        """How the index stands to a job of `version`, for the moment."""

    async def settled(self, tenant: str, name: str, version: int, ids: Sequence[str]) -> bool:
        """Whether this or a higher version has spoken about each of the documents."""

    async def record(
        self, tenant: str, name: str, generation: int, version: int, documents: Sequence[StoredDocument]
    ) -> Recorded:
        """Let documents hold whose points are written, in one commit; all of one source blob, all of `version`."""

    async def forget(self, tenant: str, name: str, version: int, ids: Sequence[str]) -> Recorded:
        """Let documents be deleted, also those that are unknown yet. `changed` are those that there were."""

    async def drop(self, tenant: str, name: str, *, made_before: datetime) -> None:
        """Remove a collection that was made before that time with its documents; its indexes become leftovers."""

    async def leftovers(self, tenant: str, name: str) -> list[int]:
        """Generations that no collection names any more, and of which `let_go` was not said yet."""

    async def let_go(self, tenant: str, name: str, generation: int) -> None:
        """Say that a leftover's index is dropped."""

    def hold(
        self, tenant: str, name: str, generation: int, *, dimension: int | None, learned: bool
    ) -> AbstractAsyncContextManager[bool]:
        """Let nothing make the generation a leftover while the block runs; False when it is none of the collection's.

        Notes the generation's arms. Raises `Conflict` (`dimension_mismatch`) when it has others.
        """

    async def change(self, tenant: str, name: str, given: Mapping[str, Any]) -> None:
        """Merge the settings that shape no vectors at once. Raises `InvalidInput`, and `NotFound`."""

    async def start_building(
        self, job: UUID, tenant: str, name: str, given: Mapping[str, Any], *, encoder: str, embedder: str | None
    ) -> IndexRecord:
        """Begin a new index for the collection with `given` merged into its settings; the same when asked again.

        Raises `Conflict` (`rebuild_running`) while another job that lives builds one, and `InvalidInput`.
        """

    async def unbuilt(
        self, tenant: str, name: str, generation: int, *, after: str = "", last: str | None = None, limit: int
    ) -> list[Unbuilt]:
        """Documents that the index lacks, in order of their ids, after `after` and up to `last`."""

    async def built(
        self, tenant: str, name: str, generation: int, documents: Sequence[tuple[str, int, int]]
    ) -> Recorded:
        """Say that the index has these `(id, version, chunks)`; one that was written since stays unbuilt."""

    async def seal(self, tenant: str, name: str, generation: int, seconds: float) -> None:
        """Let writers wait for that long, so that what is unbuilt becomes no more."""

    async def swap(self, tenant: str, name: str, generation: int) -> bool:
        """Let the built index be the one that is searched; False when it lacks a document, or is not being built."""

    async def abandon(self, tenant: str, name: str, job: UUID | None = None) -> None:
        """End the building of `job`, or of a job that lives no more; its index becomes a leftover."""


@dataclass(frozen=True, slots=True)
class ChildSummary:
    """How one child of a fan-out ended: its result, or its error."""

    input: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None


class Children(Protocol):
    """Reads the children of a fan-out back, for the stage that sums them up."""

    def results(self, job_id: UUID) -> AsyncIterator[ChildSummary]:
        """Every child of the job, in the order they were made, a page at a time from Postgres."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All that a stage is given. `embedder` and `reranker` are None where this process has no such model."""

    blobs: Blobs
    index: VectorIndex
    sparse: SparseEncoder
    embedder: Embedder | None
    embedder_name: str | None
    """The deployment's dense model, also where another pool has it loaded."""
    reranker: Reranker | None
    reranker_name: str | None
    """The deployment's reranker, also where another pool has it loaded."""
    parser: DocumentParser
    generator: Generator
    catalogue: Catalogue
    children: Children
    candidates: int = 30
    """How many passages a reranker reads: more than are asked for, so that it can bring some up."""
