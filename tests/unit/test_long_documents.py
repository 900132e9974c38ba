"""A long document goes through in pieces, and becomes the same points as at once."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from consumers.stages.indexing import points
from consumers.stages.indexing.points import PointMaker, Versioned
from consumers.stages.indexing.sources import Content
from schemas.collections import Chunking, CollectionSettings, SparseSettings
from schemas.errors import DocumentRefused
from schemas.requester import Requester
from schemas.retrieval import Heading, IndexName, ParsedDocument, Sentence
from schemas.topics import Lane
from tests.unit.ports_in_memory import WordEncoder

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
    async def documents() -> AsyncIterator[Versioned]:
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
