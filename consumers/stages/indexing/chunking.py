"""From a document to the pieces that are encoded and found: windows of whole sentences that keep to their section."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from schemas.collections import Chunking
from schemas.retrieval import Chunk, Heading, Sentence

SECTION_LEVELS: Final = 3
"""Headings of these levels, 1 to 3, begin a new chunk."""

MAX_HEADING_CHARS: Final = 120
"""Characters of one heading in a path: a document may mark a page of text as one, and every chunk would carry it."""

_SEPARATOR: Final = " > "


def chunk(
    text: str,
    sentences: Sequence[Sentence],
    settings: Chunking,
    headings: Sequence[Heading] = (),
    pages: Sequence[int] = (),
) -> list[Chunk]:
    """Windows of `text` within the limits of `settings`, in order; each brings something new, none is blank.

    `sentences` are those of `SparseEncoder.analyse` with the same `settings`: in order, disjoint, none larger than a
    chunk. A heading of level 1 to 3 begins a new chunk unless the present one holds less than a third of its limit, the
    overlap does not reach back across such a heading, and no chunk ends with a heading that the next one could begin
    with. Linear in the length of the text.
    """
    rooms = _Rooms(sentences, settings)
    openings = _openings(sentences, headings)
    titles = _titles(sentences, headings)
    sections = [at for at, heading in zip(openings, headings, strict=True) if heading.level <= SECTION_LEVELS]
    starts = set(sections)
    paths = _paths(openings, headings)
    path, opened = next(paths)

    chunks: list[Chunk] = []
    first = done = 0
    while done < len(sentences):
        # The overlap is dropped when it leaves no room for the next sentence.
        while first < done and not rooms.hold(first, done):
            first += 1
        stop = done + 1
        while stop < len(sentences) and rooms.hold(first, stop):
            if stop in starts and rooms.third_is_full(first, stop):
                break
            stop += 1
        while stop < len(sentences) and stop - 1 > done and stop - 1 in titles:
            stop -= 1
        while opened is not None and opened <= first:
            path, opened = next(paths)
        start, end = sentences[first].start, sentences[stop - 1].end
        pieces = tuple(sentence.terms for sentence in sentences[first:stop])
        page = max(bisect_right(pages, start), 1) if pages else None
        chunks.append(Chunk(start, end, text[start:end], pieces, path, page))
        done = stop
        section = sections[at - 1] if (at := bisect_right(sections, done)) else 0
        first = max(first + 1, done - settings.overlap_sentences, section)
    return chunks


class _Rooms:
    """What fits into one chunk."""

    def __init__(self, sentences: Sequence[Sentence], settings: Chunking) -> None:
        self._sentences = sentences
        self._chars = settings.max_chars
        self._tokens = settings.max_tokens
        self._before = [0, *accumulate(sentence.tokens for sentence in sentences)]
        for at, sentence in enumerate(sentences):
            if not self.hold(at, at):
                raise ValueError(f"the sentence at {sentence.start} is larger than a chunk: analyse with `chunking`")

    def hold(self, first: int, last: int) -> bool:
        """Whether the sentences from `first` to `last`, inclusive, fit."""
        chars = self._sentences[last].end - self._sentences[first].start
        return chars <= self._chars and (self._tokens is None or self._count(first, last + 1) <= self._tokens)

    def third_is_full(self, first: int, stop: int) -> bool:
        """Whether the sentences before `stop` take a third of the limit or more."""
        chars = self._sentences[stop - 1].end - self._sentences[first].start
        return chars * 3 >= self._chars or (self._tokens is not None and self._count(first, stop) * 3 >= self._tokens)

    def _count(self, first: int, stop: int) -> int:
        return self._before[stop] - self._before[first]


def _openings(sentences: Sequence[Sentence], headings: Sequence[Heading]) -> list[int]:
    """For each heading the sentence it stands in; the one after it where it is blank."""
    ends = [sentence.end for sentence in sentences]
    return [bisect_right(ends, heading.start) for heading in headings]


def _titles(sentences: Sequence[Sentence], headings: Sequence[Heading]) -> set[int]:
    """The sentences that are only a heading or a part of one."""
    starts = [sentence.start for sentence in sentences]
    titles: set[int] = set()
    at = 0
    for heading in headings:
        at, end = max(at, bisect_right(starts, heading.start - 1)), heading.start + len(heading.text)
        while at < len(sentences) and sentences[at].end <= end:
            titles.add(at)
            at += 1
    return titles


def _paths(openings: Sequence[int], headings: Sequence[Heading]) -> Iterator[tuple[str | None, int | None]]:
    """Each path of headings with the sentence at which the next one begins to hold, None after the last."""
    open_: list[tuple[int, str]] = []
    yield None, openings[0] if openings else None
    for number, heading in enumerate(headings):
        while open_ and open_[-1][0] >= heading.level:
            open_.pop()
        if words := " ".join(heading.text[: 2 * MAX_HEADING_CHARS].split())[:MAX_HEADING_CHARS]:
            open_.append((heading.level, words))
        following = openings[number + 1] if number + 1 < len(openings) else None
        yield _SEPARATOR.join(words for _, words in open_) or None, following
