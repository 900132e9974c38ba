"""What travels between parsing, encoding, the vector index and generation: documents, chunks, vectors, passages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]
"""Why a model stopped: it was done, `max_tokens` was reached, a filter cut it, or it called a tool."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a document: where it begins in the text, its level from 1 (the highest), and its words."""

    start: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as plain text. Offsets everywhere count characters (Unicode code points) of `text`.

    `headings` are in order of the text; `pages` holds the offset at which each page begins, the first at 0, and is
    empty where the format has no pages. `lost` names what the reader of the format could not read.
    """

    text: str
    title: str | None = None
    headings: Sequence[Heading] = ()
    pages: Sequence[int] = ()
    lost: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SubmittedText:
    """A text as it was submitted: text, Markdown or HTML. `format` is guessed from `filename` when absent."""

    text: str
    format: str | None = None
    filename: str | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text, `text[start:end]`: its terms' ids with repeats, and its number of morphemes."""

    start: int
    end: int
    terms: Sequence[int]
    tokens: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `text == document.text[start:end]`, half-open character offsets.

    `pieces` are the terms of its sentences, for `SparseEncoder.weigh`; `heading` is the path of headings in force where
    it begins ("제1장 총칙 > 제2조"), `page` the 1-based page it begins on.
    """

    start: int
    end: int
    text: str
    pieces: Sequence[Sequence[int]] = ()
    heading: str | None = None
    page: int | None = None


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term ids (uint32, strictly ascending) and their weights (> 0), of equal length."""

    indices: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Embedding:
    """A dense model's output for a text: a vector of unit length and, from bge-m3, its own term weights."""

    dense: Sequence[float]
    learned: SparseVector | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A question as vectors: one for each arm that the collection has. Empty arms find nothing."""

    sparse: SparseVector
    dense: Sequence[float] | None = None
    learned: SparseVector | None = None


@dataclass(frozen=True, slots=True)
class IndexName:
    """One physical index. A collection has one that is searched, and a second one while it is being rebuilt."""

    tenant: str
    collection: str
    generation: int


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """Which points of a document hold: its newest version, and the content hash of older points that still hold.

    None when no lower version holds: the document was deleted, or this version wrote all of its points.
    """

    id: str
    version: int
    content_hash: str | None


@dataclass(frozen=True, slots=True)
class Point:
    """One chunk in the vector index. `id` is a UUID made from index, document, content and position.

    `version` orders the writes of a document: the higher one is newer. `heading` is the path of headings the chunk
    stands under, `page` the 1-based page it begins on.
    """

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
    learned: SparseVector | None = None
    version: int = 0
    heading: str | None = None
    page: int | None = None


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
    heading: str | None = None
    page: int | None = None
    content_hash: str = ""
    """The content hash of the document as indexed: a hit whose document now has another one is not shown."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens an engine counted; 0 where no model ran."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class SearchQuestion:
    """A conversation's last question, made to be understood without the conversation."""

    question: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """An answer and the passages it cites, in citation order. `found` is False for an honest "not found".

    `citations_dropped` counts the numbers cited that belong to no passage; they are removed from the text. `written` is
    the text before the citations were renumbered, `numbers` are the citations' numbers in it; None: they are the same.
    """

    text: str
    citations: Sequence[Passage]
    model: str
    found: bool = True
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason | None = None
    citations_dropped: int = 0
    written: str | None = None
    numbers: Sequence[int] | None = None
