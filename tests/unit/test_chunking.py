"""Chunks are whole sentences, exact and small, and nothing is lost between them."""

from hypothesis import given
from hypothesis import strategies as st

from consumers.stages.indexing.chunking import chunk


@st.composite
def texts_with_sentences(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    pieces = draw(st.lists(st.text(alphabet="가나다 a.\n😀", min_size=0, max_size=120), max_size=20))
    text, sentences = "", []
    for piece in pieces:
        sentences.append((len(text), len(text) + len(piece)))
        text += piece + draw(st.sampled_from(["", " ", "\n\n"]))
    return text, sentences


@given(texts_with_sentences(), st.integers(1, 90), st.integers(0, 5))
def test_chunks_are_exact_small_and_cover_every_sentence(
    document: tuple[str, list[tuple[int, int]]], max_chars: int, overlap: int
) -> None:
    text, sentences = document
    chunks = chunk(text, sentences, max_chars=max_chars, overlap_sentences=overlap)
    covered = {at for c in chunks for at in range(c.start, c.end)}
    assert all(text[c.start : c.end] == c.text for c in chunks)
    assert all(c.text.strip() and len(c.text) <= max_chars for c in chunks)
    assert {at for s, e in sentences for at in range(s, e) if not text[at].isspace()} <= covered
    ends = [c.end for c in chunks]
    assert ends == sorted(set(ends)), "each chunk brings something new"


def sentence_spans(*lengths: int) -> tuple[str, list[tuple[int, int]]]:
    text, spans = "", []
    for number, length in enumerate(lengths):
        spans.append((len(text), len(text) + length))
        text += chr(ord("가") + number) * length + " "
    return text, spans


def test_neighbours_share_the_overlap() -> None:
    text, spans = sentence_spans(10, 10, 10, 10)
    chunks = chunk(text, spans, max_chars=21, overlap_sentences=1)
    assert [(c.start, c.end) for c in chunks] == [(0, 21), (11, 32), (22, 43)]


def test_overlap_gives_way_to_the_next_sentence() -> None:
    text, spans = sentence_spans(10, 10, 20)
    chunks = chunk(text, spans, max_chars=21, overlap_sentences=1)
    assert [(c.start, c.end) for c in chunks] == [(0, 21), (22, 42)]


def test_no_overlap_when_none_is_asked_for() -> None:
    text, spans = sentence_spans(10, 10, 10)
    assert [(c.start, c.end) for c in chunk(text, spans, max_chars=21, overlap_sentences=0)] == [(0, 21), (22, 32)]


def test_a_long_sentence_is_cut_at_a_blank() -> None:
    text = "가" * 40 + " " + "나" * 40
    chunks = chunk(text, [(0, len(text))], max_chars=60, overlap_sentences=0)
    assert [c.text for c in chunks] == ["가" * 40, "나" * 40]


def test_a_word_longer_than_a_chunk_is_cut_within() -> None:
    chunks = chunk("가" * 130, [(0, 130)], max_chars=50, overlap_sentences=0)
    assert [len(c.text) for c in chunks] == [50, 50, 30]


def test_a_text_without_sentences_is_one() -> None:
    assert [c.text for c in chunk(" ㅋ ", [], max_chars=50, overlap_sentences=1)] == ["ㅋ"]
    assert chunk(" \n ", [], max_chars=50, overlap_sentences=1) == []
