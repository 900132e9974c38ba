"""A long document goes through in pieces, becomes the same points as at once, and a worker holds few of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from consumers.stages.context import StageJob
from consumers.stages.indexing import points, prepare
from consumers.stages.indexing.points import PointMaker, Versioned
from consumers.stages.registry import stage
from consumers.stages.sources import LONG_CHARS, Content
from infra.documents.long_documents import LongDocumentTurns
from schemas.collections import Chunking, CollectionSettings, SparseSettings
from schemas.errors import DocumentRefused
from schemas.kinds.indexing import IndexingInput
from schemas.outcomes import FanOut, Next
from schemas.requester import Requester
from schemas.retrieval import Heading, IndexName, ParsedDocument, Sentence
from schemas.topics import Lane
from tests.unit.ports_in_memory import World
from tests.unit.texts_in_memory import WordEncoder

PIECE = 100
SENTENCES = [f"문장 {number} 은 나무 {number % 7} 이야기이다." for number in range(60)]
TEXT = "\n".join(SENTENCES)
HEADINGS = [Heading(TEXT.index(SENTENCES[at]), 1 + at % 3, SENTENCES[at]) for at in (0, 9, 10, 31, 59)]
SETTINGS = CollectionSettings.model_validate({"chunking": {"max_chars": 90, "overlap_sentences": 1}})


@dataclass
class Refusing(WordEncoder):
    """Refuses texts that hold a word."""

    word: str = "문장 40 "

    async def analyse(
        self, texts: Sequence[str], settings: SparseSettings, chunking: Chunking | None = None, *, by: Requester
    ) -> list[list[Sentence] | DocumentRefused]:
        found = await super().analyse(texts, settings, chunking, by=by)
        refused = DocumentRefused("it takes too long", code="analysis_timeout")
        return [refused if self.word in text else one for text, one in zip(texts, found, strict=True)]


async def made(
    encoder: WordEncoder, texts: Iterable[tuple[str, str, Sequence[Heading]]]
) -> tuple[list[bytes], PointMaker]:
    async def documents() -> AsyncGenerator[Versioned]:
        for name, text, headings in texts:
            yield Versioned(name, 1, "stamp", Content("제목", {}, ParsedDocument(text, "제목", headings)))

    maker = PointMaker(IndexName("t", "c", 1), SETTINGS, encoder, Requester("t", Lane.BULK, 0.0))
    lines = b"".join([piece async for piece in maker.lines(documents())])
    return lines.splitlines(), maker


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(points, "CHARS_AT_ONCE", PIECE)
    return monkeypatch


async def test_a_long_document_becomes_the_same_points_as_at_once(small_pieces: pytest.MonkeyPatch) -> None:
    texts = [("before", SENTENCES[0], ()), ("long", TEXT, HEADINGS), ("after", SENTENCES[1], ())]
    small_pieces.setattr(points, "LONG_CHARS", 10**9)
    at_once, whole = await made(WordEncoder(), texts)
    small_pieces.setattr(points, "LONG_CHARS", 5 * PIECE)
    small_pieces.setattr(points, "MANY_NAMES", 1)
    encoder = WordEncoder()
    in_pieces, maker = await made(encoder, texts)
    assert in_pieces == at_once
    assert maker.chunks == whole.chunks
    assert maker.chunks["long"] >= 20
    assert max(map(len, encoder.analysed)) <= PIECE


async def test_a_long_document_with_one_bad_piece_is_refused_without_a_point(small_pieces: pytest.MonkeyPatch) -> None:
    small_pieces.setattr(points, "LONG_CHARS", 5 * PIECE)
    texts = [("before", SENTENCES[0], ()), ("long", TEXT, HEADINGS), ("after", SENTENCES[1], ())]
    lines, maker = await made(Refusing(), texts)
    assert set(maker.refused) == {"long"}
    assert maker.refused["long"].reason == "analysis_timeout"
    assert len(lines) == 2
    assert not any(b'"long"' in line for line in lines)


async def test_a_long_document_whose_heading_cannot_be_analysed_is_refused(small_pieces: pytest.MonkeyPatch) -> None:
    small_pieces.setattr(points, "LONG_CHARS", 5 * PIECE)
    bad = [*HEADINGS[:2], Heading(TEXT.index(SENTENCES[20]), 1, "문장 40 이라는 제목"), *HEADINGS[3:]]
    shown = TEXT.replace(SENTENCES[40], "")
    lines, maker = await made(Refusing(), [("long", shown, bad), ("after", SENTENCES[1], ())])
    assert set(maker.refused) == {"long"}
    assert len(lines) == 1


SHORT = "라일락."


@dataclass
class Slow(WordEncoder):
    """Analyses no long text until `go`. `most`: how many of them, known by their letter, it was given at once."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: set[str] = field(default_factory=set)
    most: int = 0
    held: Counter[str] = field(default_factory=Counter)

    async def analyse(
        self, texts: Sequence[str], settings: SparseSettings, chunking: Chunking | None = None, *, by: Requester
    ) -> list[list[Sentence] | DocumentRefused]:
        if texts[0] == SHORT:
            return await super().analyse(texts, settings, chunking, by=by)
        letter = texts[0][0]
        self.begun.add(letter)
        self.held[letter] += 1
        self.most = max(self.most, len(+self.held))
        try:
            await self.go.wait()
            return await super().analyse(texts, settings, chunking, by=by)
        finally:
            self.held[letter] -= 1

    async def first(self, number: int) -> set[str]:
        async with asyncio.timeout(60):
            while len(self.begun) < number:
                await asyncio.sleep(0.01)
        return self.begun


def text_of(letter: str, chars: int) -> str:
    return f"{letter}{letter}. " * (chars // 4)


async def part_of(world: World, **document: Any) -> StageJob[Any, Any]:
    given = IndexingInput.model_validate({"collection": "c", "documents": [{"id": "d", **document}]})
    planned = await stage("indexing", "plan")(world.job("indexing", "plan", given), world.ports)
    assert isinstance(planned, FanOut)
    return world.job("indexing", "prepare", planned.children[0].input)


@pytest.mark.parametrize("how", ["text", "file"])
async def test_a_worker_holds_few_long_documents_and_a_cancelled_one_makes_room(how: str) -> None:
    encoder = Slow()
    world = World(sparse=encoder, long_documents=LongDocumentTurns(1))
    ways = {"text": lambda text: {"text": text}, "file": lambda text: {"file": world.upload(text.encode())}}
    jobs = [await part_of(world, **ways[how](text_of(letter, 2 * LONG_CHARS))) for letter in "가나다"]
    tasks = [asyncio.create_task(prepare.run(job, world.ports)) for job in jobs]
    (first,) = await encoder.first(1)
    assert isinstance(await prepare.run(await part_of(world, text=SHORT), world.ports), Next)
    tasks["가나다".index(first)].cancel()
    assert len(await encoder.first(2)) == 2
    encoder.go.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert encoder.most == 1
    assert sum(isinstance(one, asyncio.CancelledError) for one in ended) == 1
    assert sum(isinstance(one, Next) for one in ended) == 2


async def test_a_short_file_makes_room_before_it_is_analysed() -> None:
    encoder = Slow()
    world = World(sparse=encoder, long_documents=LongDocumentTurns(1))
    jobs = [await part_of(world, file=world.upload(text_of(letter, 100).encode())) for letter in "가나다"]
    tasks = [asyncio.create_task(prepare.run(job, world.ports)) for job in jobs]
    await encoder.first(3)
    encoder.go.set()
    assert all(isinstance(one, Next) for one in await asyncio.gather(*tasks))
