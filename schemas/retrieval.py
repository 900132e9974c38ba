"""What travels between parsing, encoding, the vector index and generation: documents, chunks, vectors, passages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as plain text. Offsets everywhere count characters (Unicode code points) of `text`."""

    text: str
    title: str | None = None


@dataclass(frozen=True, slots=True)
class ChunkSpan:
    """A piece of a document: `text == document.text[start:end]`, half-open character offsets."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term ids (uint32, strictly ascending) and their weights (> 0), of equal length."""

    indices: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Point:
    """One chunk in the vector index. `id` is a UUID made from collection, document, content and position."""

    id: str
    document_id: str
    content_hash: str
    title: str | None
    text: str
    start: int
    end: int
    sparse: SparseVector
    dense: Sequence[float] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that answers a query. `score` is >= 0, higher is better, comparable within one answer only."""

    document_id: str
    chunk_id: str
    title: str | None
    text: str
    start: int
    end: int
    score: float
    scores: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens an engine counted; 0 where no model ran."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """An answer and the passages it cites, in citation order. `found` is False for an honest "not found"."""

    text: str
    citations: Sequence[Passage]
    model: str
    found: bool = True
    usage: Usage = field(default_factory=Usage)
