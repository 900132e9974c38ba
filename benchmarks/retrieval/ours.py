"""WeLIP's own parts: chunks, sparse encoder and embedded index as a worker uses them, with a dense arm on request."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.retrieval.arms import DEPTH
from consumers.stages.indexing.lines import point_from_line
from consumers.stages.indexing.points import PointMaker, Versioned
from consumers.stages.models import under_headings
from consumers.stages.ports import Embedder
from consumers.stages.sources import Content
from consumers.tuning.judged import JudgedDocument
from infra.text.sparse import KiwiSparseEncoder
from infra.vectors.edge import EdgeIndex
from schemas.collections import Chunking, CollectionSettings, FusionSettings, SparseSettings
from schemas.errors import DocumentRefused
from schemas.requester import Requester
from schemas.retrieval import Embedding, IndexName, ParsedDocument, Point, Query, Sentence, SparseVector
from schemas.topics import Lane

INDEX: Final = IndexName("benchmark", "retrieval", 1)
UPSERT_AT_ONCE: Final = 256
NOTHING: Final = SparseVector((), ())


class Welip:
    """Documents in an index of their own, with default settings. `with Welip(...) as arm:`."""

    def __init__(self, encoder: KiwiSparseEncoder, embedder: Embedder | None = None) -> None:
        self._encoder = encoder
        self._embedder = embedder
        self._settings = CollectionSettings()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._runner = self._open.enter_context(asyncio.Runner())
        folder = self._open.enter_context(tempfile.TemporaryDirectory(prefix="welip-bench-"))
        self._index = EdgeIndex(Path(folder))
        self._open.callback(lambda: self._runner.run(self._index.close()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._open.close()

    def index(self, corpus: Sequence[JudgedDocument]) -> None:
        """Chunk, encode, embed and write."""
        self._runner.run(self._write(corpus))

    def search(self, question: str) -> list[str]:
        """Search with all available arms, fused."""
        return self._runner.run(self._search(question, sparse=True))

    def dense_alone(self) -> "AskedOtherwise":
        """The same index, searched by its dense arm only."""
        return AskedOtherwise(self._runner, partial(self._search, sparse=False))

    def fused_evenly(self) -> "AskedOtherwise":
        """The same index and arms, but the arms count equally in every question."""
        return AskedOtherwise(self._runner, partial(self._search, sparse=True, fusion=FusionSettings(method="minmax")))

    async def _write(self, corpus: Sequence[JudgedDocument]) -> None:
        written = 0
        async for points in made_points(corpus, self._encoder, self._settings):
            vectors: list[Embedding] = []
            if self._embedder:
                read = [under_headings(point.title, point.heading, point.text) for point in points]
                vectors = await self._embedder.embed_documents(read)
            if not written:
                dimension = self._embedder.dimension if self._embedder else None
                learned = self._embedder is not None and self._embedder.learned
                await self._index.ensure(INDEX, dimension=dimension, learned=learned)
            await self._index.upsert(
                INDEX,
                [
                    replace(point, dense=one.dense, learned=one.learned)
                    for point, one in zip(points, vectors, strict=True)
                ]
                if vectors
                else points,
            )
            written += len(points)

    async def _search(self, question: str, *, sparse: bool, fusion: FusionSettings | None = None) -> list[str]:
        terms = self._encoder.encode_query(question, self._settings.sparse) if sparse else NOTHING
        made = await self._embedder.embed_query(question) if self._embedder else None
        query = Query(terms, made.dense if made else None, made.learned if made and sparse else None)
        found = await self._index.search(INDEX, query, top_k=DEPTH, fusion=fusion or self._settings.fusion)
        return [passage.document_id for passage in found]


class _InThread:
    """A worker's encoder without the processes that keep tenants apart, to measure the encoder alone."""

    def __init__(self, encoder: KiwiSparseEncoder) -> None:
        self._encoder = encoder
        self.name = encoder.name
        self.weigh = encoder.weigh

    async def analyse(
        self, texts: Sequence[str], settings: SparseSettings, chunking: Chunking | None = None, *, by: Requester
    ) -> list[list[Sentence] | DocumentRefused]:
        return list(await asyncio.to_thread(self._encoder.analyse, texts, settings, chunking))

    async def encode_query(self, text: str, settings: SparseSettings, *, by: Requester) -> SparseVector:
        return await asyncio.to_thread(self._encoder.encode_query, text, settings)

    async def warm(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to release."""


async def made_points(
    corpus: Sequence[JudgedDocument], encoder: KiwiSparseEncoder, settings: CollectionSettings
) -> AsyncIterator[list[Point]]:
    """The points of plain texts, made by the code of the indexing stages."""

    async def documents() -> AsyncIterator[Versioned]:
        for document in corpus:
            content = Content(document.title, {}, ParsedDocument(document.text, document.title))
            yield Versioned(document.id, 1, "1", content)

    analyst = _InThread(encoder)
    async for lines in PointMaker(INDEX, settings, analyst, Requester("bench", Lane.BULK)).lines(documents()):
        points = [point_from_line(line) for line in lines.splitlines()]
        for first in range(0, len(points), UPSERT_AT_ONCE):
            yield points[first : first + UPSERT_AT_ONCE]


class AskedOtherwise:
    """Searches an index that another arm has filled."""

    def __init__(self, runner: asyncio.Runner, search: Callable[..., Coroutine[Any, Any, list[str]]]) -> None:
        self._runner = runner
        self._search = search

    def index(self, corpus: Sequence[JudgedDocument]) -> None:
        """Nothing to do: the index is already filled."""

    def search(self, question: str) -> list[str]:
        """What this way of searching finds."""
        return self._runner.run(self._search(question))
