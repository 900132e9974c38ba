"""From a document to the pieces that are encoded and found: windows of whole sentences that keep to their section."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
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
    chunker = Chunker(text, settings, headings, pages)
    return [*chunker.add(sentences), *chunker.finish()]


class Chunker:
    """`chunk` for sentences that come little by little: it holds those that the next chunk may need, and no others."""

    def __init__(
        self, text: str, settings: Chunking, headings: Sequence[Heading] = (), pages: Sequence[int] = ()
    ) -> None:
        self._text = text
        self._settings = settings
        self._pages = pages
        self._headings = _Headings(headings)
        # Of the sentences that are held, by position. `_tokens[n]`: tokens of all sentences before the nth, ever.
        self._sentences: list[Sentence] = []
        self._titles: list[bool] = []
        self._begins: list[bool] = []
        self._tokens = [0]
        self._first = self._done = 0
        """Where the next chunk may begin, and the first sentence that it must bring."""
        self._passed = 0
        """How many sentences are held no more."""

    def add(self, sentences: Sequence[Sentence]) -> list[Chunk]:
        """The chunks that are certain now, whatever follows."""
        for sentence in sentences:
            title, begins = self._headings.meet(sentence, self._passed + len(self._sentences))
            self._sentences.append(sentence)
            self._titles.append(title)
            self._begins.append(begins)
            self._tokens.append(self._tokens[-1] + sentence.tokens)
            at = len(self._sentences) - 1
            if not self._hold(at, at):
                raise ValueError(f"the sentence at {sentence.start} is larger than a chunk: analyse with `chunking`")
        return self._cut(final=False)

    def finish(self) -> list[Chunk]:
        """The last chunks: nothing follows."""
        return self._cut(final=True)

    def _cut(self, *, final: bool) -> list[Chunk]:
        chunks: list[Chunk] = []
        count = len(self._sentences)
        while self._done < count:
            # The overlap is dropped when it leaves no room for the next sentence.
            while self._first < self._done and not self._hold(self._first, self._done):
                self._first += 1
            stop = self._done + 1
            while stop < count and self._hold(self._first, stop):
                if self._begins[stop] and self._third_is_full(stop):
                    break
                stop += 1
            if stop == count and not final:
                break
            while stop < count and stop - 1 > self._done and self._titles[stop - 1]:
                stop -= 1
            chunks.append(self._chunk(stop))
            self._done = stop
            section = self._headings.section(self._passed + stop) - self._passed
            self._first = max(self._first + 1, stop - self._settings.overlap_sentences, section)
        self._forget()
        return chunks

    def _chunk(self, stop: int) -> Chunk:
        held = self._sentences[self._first : stop]
        start, end = held[0].start, held[-1].end
        page = max(bisect_right(self._pages, start), 1) if self._pages else None
        path = self._headings.path(self._passed + self._first)
        return Chunk(start, end, self._text[start:end], tuple(one.terms for one in held), path, page)

    def _hold(self, first: int, last: int) -> bool:
        """Whether the sentences from `first` to `last`, inclusive, fit into a chunk."""
        settings = self._settings
        chars = self._sentences[last].end - self._sentences[first].start
        tokens = self._tokens[last + 1] - self._tokens[first]
        return chars <= settings.max_chars and (settings.max_tokens is None or tokens <= settings.max_tokens)

    def _third_is_full(self, stop: int) -> bool:
        """Whether the sentences of the next chunk before `stop` take a third of the limit or more."""
        settings = self._settings
        chars = self._sentences[stop - 1].end - self._sentences[self._first].start
        tokens = self._tokens[stop] - self._tokens[self._first]
        return chars * 3 >= settings.max_chars or (
            settings.max_tokens is not None and tokens * 3 >= settings.max_tokens
        )

    def _forget(self) -> None:
        passed = min(self._first, len(self._sentences))
        for held in (self._sentences, self._titles, self._begins, self._tokens):
            del held[:passed]
        self._first -= passed
        self._done -= passed
        self._passed += passed


class _Headings:
    """Where the headings of a document are met, by the numbers of its sentences."""

    def __init__(self, headings: Sequence[Heading]) -> None:
        self._headings = headings
        self._begun = self._met = 0
        """How many headings begin in sentences so far, and how many begin before the end of one."""
        self._reach = 0
        """The end of those that begin."""
        self._openings: deque[tuple[int, Heading]] = deque()
        self._sections: deque[int] = deque()
        self._section = 0
        self._open: list[tuple[int, str]] = []

    def meet(self, sentence: Sentence, number: int) -> tuple[bool, bool]:
        """Whether the next sentence is only a heading or a part of one, and whether a section begins in it.

        A heading stands in the first sentence that ends behind its beginning; in the one after it where it is blank.
        """
        begins = False
        while self._met < len(self._headings) and (heading := self._headings[self._met]).start < sentence.end:
            self._openings.append((number, heading))
            if heading.level <= SECTION_LEVELS:
                self._sections.append(number)
                begins = True
            self._met += 1
        while self._begun < len(self._headings) and (heading := self._headings[self._begun]).start <= sentence.start:
            self._reach = max(self._reach, heading.start + len(heading.text))
            self._begun += 1
        return sentence.end <= self._reach, begins

    def section(self, number: int) -> int:
        """The sentence at which the section of this one begins. Ask with numbers that never fall."""
        while self._sections and self._sections[0] <= number:
            self._section = self._sections.popleft()
        return self._section

    def path(self, number: int) -> str | None:
        """The path of headings that holds at this sentence. Ask with numbers that never fall."""
        while self._openings and self._openings[0][0] <= number:
            _, heading = self._openings.popleft()
            while self._open and self._open[-1][0] >= heading.level:
                self._open.pop()
            if words := " ".join(heading.text[: 2 * MAX_HEADING_CHARS].split())[:MAX_HEADING_CHARS]:
                self._open.append((heading.level, words))
        return _SEPARATOR.join(words for _, words in self._open) or None
