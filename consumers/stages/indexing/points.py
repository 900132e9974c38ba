"""From documents to points: one pass of the analyser over a text, windows of its sentences, weights of their terms."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid5

from consumers.stages.indexing.chunking import chunk
from consumers.stages.indexing.lines import point_line
from consumers.stages.indexing.sources import Content
from consumers.stages.indexing.turns import ANALYSTS
from consumers.stages.ports import SparseEncoder
from schemas.collections import CollectionSettings
from schemas.retrieval import Chunk, IndexName, ParsedDocument, Point, Sentence
from schemas.topics import Lane

CHARS_AT_ONCE: Final = 25_000
"""Characters of one call of the analyser, which nothing can interrupt: a quarter of a second on one core."""

_POINTS: Final = UUID("6f0a3c1e-58c4-5d6b-9f0e-3f2b7a1d9c44")


@dataclass(frozen=True, slots=True)
class Versioned:
    """A document to make points of. `stamp` is what they carry as its content hash."""

    id: str
    version: int
    stamp: str
    content: Content


class PointMaker:
    """Makes the points of one index. `chunks` counts those of each document that is done."""

    def __init__(self, index: IndexName, settings: CollectionSettings, sparse: SparseEncoder, lane: Lane) -> None:
        self.chunks: dict[str, int] = {}
        self._index = index
        self._settings = settings
        self._sparse = sparse
        self._analysts = ANALYSTS[lane]
        self._ticket = self._analysts.ticket()
        self._names: dict[str, list[Sequence[int]]] = {}

    async def lines(self, documents: AsyncIterator[Versioned]) -> AsyncIterator[bytes]:
        """The points as lines. The next documents are read and analysed while those before are written down."""
        running: asyncio.Task[tuple[list[Versioned], list[list[Sentence]]]] | None = None
        try:
            async for batch in _batches(documents):
                following = asyncio.create_task(self._analysed(batch))
                if running is not None:
                    try:
                        yield await asyncio.to_thread(self._written, *await running)
                    except BaseException:
                        following.cancel()
                        raise
                running = following
            if running is not None:
                yield await asyncio.to_thread(self._written, *await running)
        finally:
            if running is not None:
                running.cancel()

    async def _analysed(self, batch: list[Versioned]) -> tuple[list[Versioned], list[list[Sentence]]]:
        pieces = [
            (position, start, text)
            for position, document in enumerate(batch)
            for start, text in _pieces(document.content.parsed.text)
        ]
        found: list[list[Sentence]] = [[] for _ in batch]
        for group in _groups(pieces):
            texts = [text for _, _, text in group]
            analysed = await self._analysts.run(
                self._ticket, self._sparse.analyse, texts, self._settings.sparse, self._settings.chunking
            )
            for (position, start, _), sentences in zip(group, analysed, strict=True):
                found[position] += (
                    [replace(one, start=one.start + start, end=one.end + start) for one in sentences]
                    if start
                    else sentences
                )
        return batch, found

    def _written(self, batch: list[Versioned], sentences: list[list[Sentence]]) -> bytes:
        cut = [
            _chunks(document.content.parsed, found, self._settings)
            for document, found in zip(batch, sentences, strict=True)
        ]
        self._learn_names(
            [document.content.title for document in batch] + [one.heading for chunks in cut for one in chunks]
        )
        lines = []
        for document, chunks in zip(batch, cut, strict=True):
            self.chunks[document.id] = len(chunks)
            lines += [point_line(self._point(document, number, one)) for number, one in enumerate(chunks)]
        return b"".join(lines)

    def _learn_names(self, names: Sequence[str | None]) -> None:
        """The terms of titles and headings, which many chunks share."""
        new = [name for name in dict.fromkeys(names) if name and name not in self._names]
        for name, found in zip(new, self._sparse.analyse(new, self._settings.sparse) if new else [], strict=True):
            self._names[name] = [sentence.terms for sentence in found]

    def _point(self, document: Versioned, number: int, one: Chunk) -> Point:
        title, heading = document.content.title, one.heading
        names = [*self._names.get(title or "", ()), *self._names.get(heading or "", ())]
        index = self._index
        # The same version gives the same ids, so that writing a point twice is writing it once; another one, other
        # ids, so that no job writes over what another has written.
        scope = f"{index.tenant}/{index.collection}/{index.generation}/{document.version}/{document.id}/{number}"
        return Point(
            id=str(uuid5(_POINTS, scope)),
            document_id=document.id,
            content_hash=document.stamp,
            title=title,
            text=one.text,
            start=one.start,
            end=one.end,
            sparse=self._sparse.weigh([*names, *one.pieces], self._settings.sparse),
            metadata=document.content.metadata,
            version=document.version,
            heading=heading,
            page=one.page,
        )


def _chunks(parsed: ParsedDocument, sentences: Sequence[Sentence], settings: CollectionSettings) -> list[Chunk]:
    return chunk(parsed.text, sentences, settings.chunking, parsed.headings, parsed.pages)


async def _batches(documents: AsyncIterator[Versioned]) -> AsyncIterator[list[Versioned]]:
    batch: list[Versioned] = []
    chars = 0
    async for document in documents:
        batch.append(document)
        chars += len(document.content.parsed.text)
        if chars >= CHARS_AT_ONCE:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """A long text in pieces that end where a line does, or a word, with the offset of each."""
    start = 0
    while len(text) - start > CHARS_AT_ONCE:
        limit = start + CHARS_AT_ONCE
        half = start + CHARS_AT_ONCE // 2
        end = max(text.rfind("\n", half, limit), 0) or max(text.rfind(" ", half, limit), 0) or limit - 1
        yield start, text[start : end + 1]
        start = end + 1
    yield start, text[start:]


def _groups(pieces: Sequence[tuple[int, int, str]]) -> Iterator[list[tuple[int, int, str]]]:
    group: list[tuple[int, int, str]] = []
    chars = 0
    for piece in pieces:
        if group and chars + len(piece[2]) > CHARS_AT_ONCE:
            yield group
            group, chars = [], 0
        group.append(piece)
        chars += len(piece[2])
    if group:
        yield group
