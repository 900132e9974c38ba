"""From documents to points: one pass of the analyser over a text, windows of its sentences, weights of their terms."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import IO, Any, Final, TypeVar
from uuid import UUID, uuid5

from consumers.stages.aside import aside
from consumers.stages.chunking import Chunker, chunk
from consumers.stages.indexing.lines import point_line
from consumers.stages.ports import SparseEncoder
from consumers.stages.sources import LONG_CHARS, Content, file_pieces
from schemas.collections import Chunking, CollectionSettings
from schemas.errors import DocumentRefused
from schemas.requester import Requester
from schemas.retrieval import Chunk, IndexName, ParsedDocument, Point, Sentence

CHARS_AT_ONCE: Final = 25_000
"""Characters of one call of the analyser: a quarter of a second on one core."""

AHEAD: Final = 2
"""Calls under way while the result of an earlier one is written, so that a single job keeps two cores busy."""

MANY_NAMES: Final = 10_000
"""So many titles and headings are remembered."""

Found = TypeVar("Found", list[Sentence], list[Sentence] | DocumentRefused)

_POINTS: Final = UUID("6f0a3c1e-58c4-5d6b-9f0e-3f2b7a1d9c44")


@dataclass(frozen=True, slots=True)
class Versioned:
    """A document to make points of. `stamp` is the content hash they carry."""

    id: str
    version: int
    stamp: str
    content: Content


_Analysed = tuple[Versioned, list[Sentence]]
_Cut = tuple[Versioned, int, Sequence[Chunk]]
"""Chunks of a document, and the number of the first of them."""


class PointMaker:
    """Makes the points of one index.

    `chunks` counts those of each document that is done, `refused` says of the others why they have none.
    """

    def __init__(
        self, index: IndexName, settings: CollectionSettings, sparse: SparseEncoder, requester: Requester
    ) -> None:
        self.chunks: dict[str, int] = {}
        self.refused: dict[str, DocumentRefused] = {}
        self._index = index
        self._settings = settings
        self._sparse = sparse
        self._requester = requester
        self._names: dict[str, list[Sequence[int]] | DocumentRefused] = {}

    async def lines(self, documents: AsyncGenerator[Versioned]) -> AsyncGenerator[bytes]:
        """The points as lines. The next documents are read and analysed while those before are written down."""
        ahead: deque[asyncio.Task[list[_Analysed]]] = deque()
        try:
            async with aclosing(documents), aclosing(_batches(documents)) as batches:
                async for batch in batches:
                    # A piece at a time: its terms take many times the memory of its text.
                    if _is_long(batch[0]):
                        while ahead:
                            yield await self._written(await ahead.popleft())
                        with TemporaryFile() as spool:
                            if await self._spool(batch[0], spool):
                                async for piece in file_pieces(spool):
                                    yield piece
                        continue
                    ahead.append(asyncio.create_task(self._analysed(batch)))
                    if len(ahead) > AHEAD:
                        yield await self._written(await ahead.popleft())
            while ahead:
                yield await self._written(await ahead.popleft())
        finally:
            await _end(ahead)

    async def _spool(self, document: Versioned, spool: IO[bytes]) -> bool:
        """Write the points of a long document to a file, a piece of its text at a time; False when it is refused.

        Not to the caller at once: a later piece may be refused, and with it the document.
        """
        parsed = document.content.parsed
        chunker = Chunker(parsed.text, self._settings.chunking, parsed.headings, parsed.pages)
        written = 0

        async def write(chunks: Sequence[Chunk]) -> None:
            nonlocal written
            lines = await self._lines_of([(document, written, chunks)])
            await asyncio.to_thread(spool.write, lines)
            written += len(chunks)

        async with aclosing(self._sentences(parsed.text)) as pieces:
            async for found in pieces:
                if isinstance(found, DocumentRefused):
                    self.refused[document.id] = found
                    return False
                await write(chunker.add(found))
                if document.id in self.refused:
                    return False
        await write(chunker.finish())
        return document.id not in self.refused

    async def _sentences(self, text: str) -> AsyncGenerator[list[Sentence] | DocumentRefused]:
        """The sentences of each piece of a text, in order, with the next pieces under way; or why there are none."""
        ahead: deque[asyncio.Task[list[list[Sentence] | DocumentRefused]]] = deque()
        starts: deque[int] = deque()
        try:
            for start, piece in _pieces(text):
                ahead.append(asyncio.create_task(self._analyse([piece], self._settings.chunking)))
                starts.append(start)
                if len(ahead) > AHEAD:
                    [found] = await ahead.popleft()
                    yield _moved(found, starts.popleft())
            while ahead:
                [found] = await ahead.popleft()
                yield _moved(found, starts.popleft())
        finally:
            await _end(ahead)

    async def _analysed(self, batch: list[Versioned]) -> list[_Analysed]:
        pieces = [
            (position, start, text)
            for position, document in enumerate(batch)
            for start, text in _pieces(document.content.parsed.text)
        ]
        found: list[list[Sentence]] = [[] for _ in batch]
        refused: dict[int, DocumentRefused] = {}
        for group in _groups(pieces):
            wanted = [piece for piece in group if piece[0] not in refused]
            texts = [text for _, _, text in wanted]
            analysed = await self._analyse(texts, self._settings.chunking) if texts else []
            for (position, start, _), sentences in zip(wanted, analysed, strict=True):
                if isinstance(sentences, DocumentRefused):
                    refused[position] = sentences
                else:
                    found[position] += _moved(sentences, start)
        for position, error in refused.items():
            self.refused[batch[position].id] = error
        return [(document, found[at]) for at, document in enumerate(batch) if at not in refused]

    async def _written(self, analysed: list[_Analysed]) -> bytes:
        return await self._lines_of(
            [(document, 0, _chunks(document.content.parsed, found, self._settings)) for document, found in analysed]
        )

    async def _lines_of(self, cut: Sequence[_Cut]) -> bytes:
        await self._learn_names([name for document, _, chunks in cut for name in _names(document, chunks)])
        return await aside(self._lines, cut)

    async def _learn_names(self, names: Iterable[str]) -> None:
        """The terms of titles and headings, which many chunks share."""
        if len(self._names) > MANY_NAMES:
            self._names.clear()
        new = [name for name in dict.fromkeys(names) if name not in self._names]
        for name, found in zip(new, await self._analyse(new) if new else [], strict=True):
            self._names[name] = found if isinstance(found, DocumentRefused) else [one.terms for one in found]

    async def _analyse(
        self, texts: Sequence[str], chunking: Chunking | None = None
    ) -> list[list[Sentence] | DocumentRefused]:
        return await self._sparse.analyse(texts, self._settings.sparse, chunking, by=self._requester)

    def _lines(self, cut: Sequence[_Cut]) -> bytes:
        lines = []
        for document, first, chunks in cut:
            learned = [self._names[name] for name in _names(document, chunks)]
            refusal = next((one for one in learned if isinstance(one, DocumentRefused)), None)
            if refusal is not None:
                self.refused[document.id] = refusal
                continue
            self.chunks[document.id] = first + len(chunks)
            lines += [point_line(self._point(document, number, one)) for number, one in enumerate(chunks, first)]
        return b"".join(lines)

    def _terms_of(self, name: str | None) -> Sequence[Sequence[int]]:
        found = self._names.get(name or "", ())
        return () if isinstance(found, DocumentRefused) else found

    def _point(self, document: Versioned, number: int, one: Chunk) -> Point:
        title, heading = document.content.title, one.heading
        names = [*self._terms_of(title), *self._terms_of(heading)]
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


def _names(document: Versioned, chunks: Sequence[Chunk]) -> Iterator[str]:
    """The title and headings of each chunk, repeated where they are the same."""
    for name in (document.content.title, *(one.heading for one in chunks)):
        if name:
            yield name


def _chunks(parsed: ParsedDocument, sentences: Sequence[Sentence], settings: CollectionSettings) -> list[Chunk]:
    return chunk(parsed.text, sentences, settings.chunking, parsed.headings, parsed.pages)


def _is_long(document: Versioned) -> bool:
    return len(document.content.parsed.text) > LONG_CHARS


async def _batches(documents: AsyncIterator[Versioned]) -> AsyncGenerator[list[Versioned]]:
    """Documents that go through together; a long one alone."""
    batch: list[Versioned] = []
    chars = 0
    async for document in documents:
        if _is_long(document):
            if batch:
                yield batch
                batch, chars = [], 0
            yield [document]
            continue
        batch.append(document)
        chars += len(document.content.parsed.text)
        if chars >= CHARS_AT_ONCE:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _moved(found: Found, start: int) -> Found:
    """The sentences of a piece by their places in the whole text."""
    if isinstance(found, DocumentRefused) or not start:
        return found
    return [replace(one, start=one.start + start, end=one.end + start) for one in found]


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """No work of a cancelled job continues."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
