"""A collection's own words, found in a text before Kiwi reads it, so that one Kiwi serves every collection."""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from infra.text.kiwi import KiwiAnalyser, Spans
from infra.text.tidying import tidy

_CANDIDATE: Final = re.compile(r"[가-힣]+|\d+|[^\W\d_가-힣]+|\S")
"""Where a word may begin: a run of Hangul, of digits or of other letters, and any sign."""

_HANGUL: Final = re.compile(r"[가-힣]+")
_TAG: Final = "NNP"
_AFTER_A_NAME: Final = ("J", "E", "VCP", "XS")
"""Kiwi's tags of what is written together with a word and is none: particles, endings, the copula, suffixes."""

_GENERIC: Final = 60
"""Kiwi's numbers up to this one stand for a kind of word (foreign, unknown), not for a word."""


class UserDictionary:
    """Finds its words where they stand as words: not within another one, though particles may follow.

    The longest word wins. Where a word has a blank, the text may have any number. Calling it gives the spans of one
    text; safe in any number of threads. Time grows with the text, not with the number of words.
    """

    def __init__(self, words: Iterable[str], analyser: KiwiAnalyser) -> None:
        self._analyser = analyser
        self._words: dict[str, list[list[str]]] = defaultdict(list)
        lengths: dict[str, set[int]] = defaultdict(set)
        for word in {tidy(word) for word in words}:
            if parts := word.split():
                self._words[parts[0]].append(parts)
                lengths[parts[0][0]].add(len(parts[0]))
        self._lengths = dict(lengths)
        self._ends_a_word = lru_cache(maxsize=50_000)(self._analysed_as_a_word)

    def __call__(self, text: str) -> Spans:
        """The start, end and tag of each word in a tidy text, in order and disjoint."""
        spans: Spans = []
        done = 0
        for candidate in _CANDIDATE.finditer(text):
            start = candidate.start()
            if start >= done and (lengths := self._lengths.get(text[start])):
                ends = (
                    self._end(text, start, parts)
                    for length in lengths
                    for parts in self._words.get(text[start : start + length], ())
                )
                if (end := max(ends, default=0)) > start:
                    spans.append((start, end, _TAG))
                    done = end
        return spans

    def _end(self, text: str, start: int, parts: list[str]) -> int:
        """Where the word that begins at `start` ends, 0 when it is another word."""
        end = start + len(parts[0])
        for part in parts[1:]:
            while end < len(text) and text[end].isspace():
                end += 1
            if not text.startswith(part, end):
                return 0
            end += len(part)
        if end == len(text) or not _kind(text[end]) or _kind(text[end - 1]) != _kind(text[end]):
            return end
        tail = _HANGUL.match(text, end)
        return end if tail and self._ends_a_word("".join(parts), tail.group()) else 0

    def _analysed_as_a_word(self, word: str, tail: str) -> bool:
        """Whether only particles, endings and suffixes follow `word` in `word + tail`, and it is no other known word.

        A known word across the border means that it is: 하나 in 하나님.
        """
        kiwi = self._analyser.load()
        end = len(word)
        free, forced = kiwi.tokenize(word + tail), kiwi.tokenize(word + tail, pretokenized=[(0, end, _TAG)])
        if any(token.start < end < token.end and token.id > _GENERIC and token.tag[0] in "NM" for token in free):
            return False
        return all(str(token.tag).startswith(_AFTER_A_NAME) or token.form == "하" for token in forced[1:])


def _kind(character: str) -> str:
    """Hangul, digits and other letters are three kinds; signs and blanks are none."""
    if _HANGUL.match(character):
        return "hangul"
    return "digit" if character.isdigit() else "letter" if character.isalpha() else ""
