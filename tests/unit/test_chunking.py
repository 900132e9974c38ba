"""Chunks are whole sentences, exact and small; they keep to their section, and nothing is lost between them."""

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.stages.chunking import MAX_HEADING_CHARS, Chunker, chunk
from schemas.collections import Chunking
from schemas.retrieval import Chunk, Heading, Sentence

ALPHABET = "가나다 a.😀漢ㅋ\u1100\u1161שם\u0301"


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[Sentence], list[Heading], list[int]]:
    text, sentences, headings, pages = "", [], [], [0]
    for number in range(draw(st.integers(0, 25))):
        words = draw(st.text(alphabet=ALPHABET, min_size=1, max_size=50).map(str.strip).filter(bool))
        if draw(st.booleans()):
            pages.append(len(text))
        if draw(st.integers(0, 3)) == 0:
            headings.append(Heading(len(text), draw(st.integers(1, 5)), words))
        sentences.append(Sentence(len(text), len(text) + len(words), [number], draw(st.integers(0, 16))))
        text += words + draw(st.sampled_from(["", " ", "\n\n"]))
    return text, sentences, headings, pages


rules = st.builds(
    Chunking,
    max_chars=st.integers(50, 120),
    max_tokens=st.none() | st.integers(16, 60),
    overlap_sentences=st.integers(0, 5),
)


@given(documents(), rules)
def test_chunks_are_exact_small_and_hold_every_sentence(
    document: tuple[str, list[Sentence], list[Heading], list[int]], settings: Chunking
) -> None:
    text, sentences, headings, pages = document
    chunks = chunk(text, sentences, settings, headings, pages)
    for one in chunks:
        held = [s for s in sentences if one.start <= s.start and s.end <= one.end]
        assert one.text == text[one.start : one.end] == one.text.strip() != ""
        assert one.pieces == tuple(s.terms for s in held)
        assert (one.start, one.end) == (held[0].start, held[-1].end)
        assert len(one.text) <= settings.max_chars
        assert sum(s.tokens for s in held) <= (settings.max_tokens or 10**9)
        assert one.page == max(sum(page <= one.start for page in pages), 1)
    assert {number for one in chunks for piece in one.pieces for number in piece} == set(range(len(sentences)))
    ends = [one.end for one in chunks]
    assert ends == sorted(set(ends)), "each chunk brings something new"
    for before, after in pairwise(chunks):
        assert len({tuple(p) for p in before.pieces} & {tuple(p) for p in after.pieces}) <= settings.overlap_sentences
        assert before.start < after.start


@given(documents(), rules, st.lists(st.integers(0, 25), max_size=8))
def test_sentences_that_come_little_by_little_make_the_same_chunks(
    document: tuple[str, list[Sentence], list[Heading], list[int]], settings: Chunking, cuts: list[int]
) -> None:
    text, sentences, headings, pages = document
    chunker = Chunker(text, settings, headings, pages)
    chunks: list[Chunk] = []
    for first, end in pairwise([0, *sorted(min(one, len(sentences)) for one in cuts), len(sentences)]):
        chunks += chunker.add(sentences[first:end])
    assert [*chunks, *chunker.finish()] == chunk(text, sentences, settings, headings, pages)


def sentences_of(*lengths: int) -> tuple[str, list[Sentence]]:
    text, found = "", []
    for number, length in enumerate(lengths):
        found.append(Sentence(len(text), len(text) + length, [number], length))
        text += chr(ord("가") + number) * length + " "
    return text, found


def cut(lengths: Sequence[int], *levels: tuple[int, int], **settings: int) -> list[list[int]]:
    """The sentence numbers in each chunk. `levels` are headings: (sentence number, level)."""
    text, sentences = sentences_of(*lengths)
    headings = [Heading(sentences[n].start, level, text[sentences[n].start : sentences[n].end]) for n, level in levels]
    chunks = chunk(text, sentences, Chunking(**{"max_chars": 62, **settings}), headings)
    return [[piece[0] for piece in one.pieces] for one in chunks]


def test_neighbours_share_the_overlap() -> None:
    assert cut([30] * 4) == [[0, 1], [1, 2], [2, 3]]


def test_overlap_gives_way_to_the_next_sentence() -> None:
    assert cut([30, 30, 60]) == [[0, 1], [2]]


def test_no_overlap_when_none_is_asked_for() -> None:
    assert cut([30, 30, 30], overlap_sentences=0) == [[0, 1], [2]]


def test_morphemes_limit_a_chunk_too() -> None:
    assert cut([10] * 4, max_tokens=20, overlap_sentences=0) == [[0, 1], [2, 3]]


def test_a_section_begins_a_chunk_and_nothing_reaches_back_over_it() -> None:
    assert cut([21, 5, 20], (1, 2)) == [[0], [1, 2]]
    assert cut([20, 10, 5, 20, 20], (2, 1), overlap_sentences=3) == [[0, 1], [2, 3, 4]]


def test_a_short_rest_is_not_left_alone_before_a_section() -> None:
    assert cut([15, 5, 20], (1, 2)) == [[0, 1, 2]]


def test_a_low_heading_does_not_begin_a_chunk() -> None:
    assert cut([30, 5, 20], (1, 4)) == [[0, 1, 2]]


def test_a_heading_goes_with_what_follows_it() -> None:
    assert cut([40, 10, 30], (1, 4)) == [[0], [1, 2]]
    assert cut([40, 8, 8, 30], (1, 4), (2, 5), overlap_sentences=0) == [[0], [1, 2, 3]]


def test_a_heading_without_room_for_what_follows_stands_alone() -> None:
    assert cut([30, 62], (0, 1)) == [[0], [1]]
    assert cut([62, 20, 62], (1, 4)) == [[0], [1], [2]]


def headed(text: str, *headings: Heading, sentences: Sequence[Sentence] | None = None) -> list[Chunk]:
    if sentences is None:
        lines, at = [], 0
        for line in text.splitlines():
            lines.append(Sentence(at, at + len(line), [at], 1))
            at += len(line) + 1
        sentences = lines
    return chunk(text, sentences, Chunking(max_chars=50, overlap_sentences=0), headings)


def test_a_chunk_knows_the_headings_above_it() -> None:
    lines = ["머리말 " * 8, "제1장  총칙", "목적 " * 14, "제2조", "정의 " * 14, "제2장 벌칙", "벌금 " * 14]
    text = "\n".join(line.strip() for line in lines)
    headings = [Heading(text.index(words), level, words) for words, level in
                (("제1장  총칙", 1), ("제2조", 2), ("제2장 벌칙", 1))]  # fmt: skip
    found = {one.text.split("\n")[-1][:2]: one.heading for one in headed(text, *headings)}
    assert found == {
        "머리": None,
        "목적": "제1장 총칙",
        "정의": "제1장 총칙 > 제2조",
        "벌금": "제2장 벌칙",
    }


def test_a_heading_within_a_sentence_holds_from_that_sentence_on() -> None:
    text = "가" * 40 + "\n제1조 " + "나" * 30
    sentences = [Sentence(0, 40, [0], 1), Sentence(41, len(text), [1], 1)]
    assert [one.heading for one in headed(text, Heading(41, 2, "제1조"), sentences=sentences)] == [None, "제1조"]


def test_a_page_of_text_that_calls_itself_a_heading_is_shortened() -> None:
    text = "가" * 5_000 + "\n" + "나" * 20
    sentences = [*(Sentence(at, at + 50, [at], 1) for at in range(0, 5_000, 50)), Sentence(5_001, 5_021, [1], 1)]
    found = headed(text, Heading(0, 1, "가" * 5_000), sentences=sentences)
    assert {one.heading for one in found} == {"가" * MAX_HEADING_CHARS}


def test_pages_count_from_one() -> None:
    text, sentences = sentences_of(50, 50, 50)
    chunks = chunk(text, sentences, Chunking(max_chars=50), pages=[0, 51, 101])
    assert [one.page for one in chunks] == [1, 2, 3]
    assert [one.page for one in chunk(text, sentences, Chunking(max_chars=50))] == [None] * 3


def test_a_document_without_text_has_no_chunks() -> None:
    assert chunk(" \n ", [], Chunking()) == []


def test_a_sentence_larger_than_a_chunk_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="analyse with `chunking`"):
        chunk("가" * 51, [Sentence(0, 51, [], 1)], Chunking(max_chars=50))


def test_millions_of_characters_take_seconds() -> None:
    text = "가나다라 마바사아 자차카타파하 아야어여 오요우유으이. " * 100_000
    sentences = [Sentence(at, at + 30, (at,), 9) for at in range(0, len(text) - 30, 31)]
    headings = [Heading(at, 2, "가나다라") for at in range(0, len(text) - 30, 310)]
    began = time.process_time()
    chunks = chunk(text, sentences, Chunking(), headings, range(0, len(text), 1_000))
    assert len(chunks) > 6_000
    assert time.process_time() - began < 20
