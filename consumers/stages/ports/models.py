"""Turn text into vectors or score it: encoders, embedding models, rerankers."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from schemas.collections import Chunking, SparseSettings
from schemas.errors import DocumentRefused, JobError
from schemas.requester import Requester
from schemas.retrieval import Embedding, Sentence, SparseVector


class SparseEncoder(Protocol):
    """Turns text into term weights whose dot product, with IDF from the index, is BM25."""

    @property
    def name(self) -> str:
        """The name of the way terms are taken from text; recorded with a collection."""

    async def analyse(
        self, texts: Sequence[str], settings: SparseSettings, chunking: Chunking | None = None, *, by: Requester
    ) -> list[list[Sentence] | DocumentRefused]:
        """The sentences of each text with their terms, in one pass of the analyser; or why that text has none.

        Every character that is not white space lies in exactly one sentence. Given `chunking`, which `chunk` needs,
        a sentence that is larger than a chunk may be comes as several.
        """

    def weigh(self, pieces: Iterable[Sequence[int]], settings: SparseSettings) -> SparseVector:
        """Saturated term frequencies of a chunk: of the terms of its sentences, title and heading together."""

    async def encode_query(self, text: str, settings: SparseSettings, *, by: Requester) -> SparseVector:
        """A weight for each distinct term, synonyms included. Empty when the text holds no content.

        Raises `InvalidInput` for a question that takes too long or too much.
        """


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
        """Whether the model also gives its own sparse vectors."""

    async def embed_documents(self, texts: Sequence[str]) -> list[Embedding | JobError]:
        """One embedding a text, or the error of a text that the model cannot take. Known texts come from the cache."""

    async def embed_query(self, text: str) -> Embedding:
        """The embedding of a query."""


class Reranker(Protocol):
    """Reads question and passage together, for a better order of few passages."""

    @property
    def name(self) -> str:
        """The model's name."""

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float | JobError]:
        """A relevance in 0..1 for each text, or the error of a text that the model cannot take.

        Raises when it can take none. Pairs of several jobs share a batch.
        """
