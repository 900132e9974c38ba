"""What stages may ask of the outside world. One protocol per outside thing; `infra/` holds the adapters.

Every method may raise `schemas.errors.DependencyUnavailable` when the thing behind it does not answer.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from schemas.retrieval import GeneratedAnswer, ParsedDocument, Passage, Point, SparseVector


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
        """Names the encoder and every setting that changes its vectors; recorded with a collection."""

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Saturated term frequencies, one vector a text. Blocking and CPU-bound: call it in a thread."""

    def encode_query(self, text: str) -> SparseVector:
        """Weight 1 for each distinct term. Empty when the text holds no content."""


class Embedder(Protocol):
    """Turns text into unit-length dense vectors."""

    @property
    def name(self) -> str:
        """The model's name; recorded with a collection."""

    @property
    def dimension(self) -> int:
        """Length of each vector."""

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text. Blocking."""

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query. Blocking."""


class DocumentParser(Protocol):
    """Turns an uploaded file or a submitted text into plain text."""

    def parse(self, data: bytes | str, *, format: str | None, filename: str | None) -> ParsedDocument:
        """Plain text and, where the document has one, its title. `format` is guessed from `filename` when None.

        Blocking and CPU-bound. Raises `DocumentRefused` with a code (`document_empty`, `document_undecodable`,
        `document_format_unknown`) and a remedy.
        """


class SentenceSplitter(Protocol):
    """Finds sentences."""

    def split(self, text: str) -> list[tuple[int, int]]:
        """Half-open character offsets of the sentences of `text`, in order, not overlapping. Blocking."""


class VectorIndex(Protocol):
    """Chunks by collection. A collection is named by `(tenant, collection)` and invisible to other tenants."""

    async def ensure(self, tenant: str, collection: str, *, dimension: int | None) -> None:
        """Create the collection unless it exists. `dimension` is that of its dense vectors, None for sparse only."""

    async def upsert(self, tenant: str, collection: str, points: Sequence[Point]) -> None:
        """Write points; one with a known id replaces it. Durable on return."""

    async def delete_document(self, tenant: str, collection: str, document_id: str, *, keep: str | None = None) -> None:
        """Remove a document's points; with `keep`, those whose `content_hash` differs from it."""

    async def search(
        self,
        tenant: str,
        collection: str,
        *,
        sparse: SparseVector,
        dense: Sequence[float] | None,
        top_k: int,
        filter: Mapping[str, Any] | None = None,
    ) -> list[Passage]:
        """The `top_k` best chunks, best first.

        `filter` maps metadata fields to a value or a list of values; all fields must hold.

        A collection that does not exist raises `NotFound`.
        """

    async def count(self, tenant: str, collection: str) -> int:
        """How many chunks the collection holds; 0 when it does not exist."""

    async def drop(self, tenant: str, collection: str) -> None:
        """Remove the collection. Absent is no error."""

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


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """What the catalogue knows of a document."""

    id: str
    content_hash: str
    chunks: int
    bytes: int


class Catalogue(Protocol):
    """Which collections and documents exist, with their content hashes. Postgres behind it."""

    async def ensure_collection(self, tenant: str, name: str, *, encoder: str, embedder: str | None) -> None:
        """Create the collection's record, or check that encoder and embedder match it. Raises `Conflict`."""

    async def documents(self, tenant: str, name: str, ids: Iterable[str]) -> dict[str, StoredDocument]:
        """The known ones among `ids`."""

    async def record_documents(self, tenant: str, name: str, documents: Sequence[StoredDocument]) -> None:
        """Insert or replace."""

    async def forget_documents(self, tenant: str, name: str, ids: Sequence[str]) -> list[str]:
        """Remove; returns the ids that were known."""

    async def is_empty(self, tenant: str, name: str) -> bool:
        """Whether the collection holds no document. Raises `NotFound` when there is no such collection."""

    async def drop_collection(self, tenant: str, name: str) -> bool:
        """Remove the collection and its documents; False when there was none."""

    async def file_key(self, tenant: str, file_id: str) -> tuple[str, str]:
        """The blob key and file name of an uploaded file. Raises `NotFound`."""


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
    """All that a stage is given. `embedder` is None where the deployment has no dense model."""

    blobs: Blobs
    index: VectorIndex
    sparse: SparseEncoder
    embedder: Embedder | None
    parser: DocumentParser
    splitter: SentenceSplitter
    generator: Generator
    catalogue: Catalogue
    children: Children
