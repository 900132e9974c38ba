"""Finds a collection's own words in a text before Kiwi reads it, so that one Kiwi serves every collection."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

from infra.text.kiwi import KiwiAnalyser, Spans
from infra.text.tidying import tidy

_CANDIDATE: Final = re.compile(r"[가-힣]+|\d+|[^\W\d_가-힣]+|\S")
"""Where a word may begin: a run of Hangul, of digits or of other letters, or any single sign."""

_HANGUL: Final = re.compile(r"[가-힣]+")
_TAG: Final = "NNP"
_AFTER_A_NAME: Final = ("J", "E", "VCP", "XS")
"""Kiwi's tags of what is attached to a word: particles, endings, the copula, suffixes."""

_GENERIC: Final = 60
"""Kiwi's token ids up to this one stand for a type of word (foreign, unknown) rather than for one word."""


_LONGEST_TAIL: Final = 20
"""In syllables. No particle or ending is longer, and text without blanks must not make the analysis unbounded."""

_TRIES: Final = 4
"""How many words, longest first, get their tail analysed at one place; many may begin there, each inside the next."""


class UserDictionary:
    """Finds its words where they occur as words: not inside another word, though particles may follow.

    The longest word wins. Where a word has a blank, the text may have any number of blanks. A call returns the spans
    in one text, and is safe in any number of threads. Time grows with the text, but not with the number of words or
    their common beginnings: each place costs one look-up per length among the words with the same first letter.
    """

    def __init__(self, words: Iterable[str], analyser: KiwiAnalyser) -> None:
        self._analyser = analyser
        self._blanks: dict[str, int] = defaultdict(int)
        """Each word without its blanks, and where it may have some: bit n for the place before its character n."""
        lengths: dict[str, set[int]] = defaultdict(set)
        for parts in (tidy(word).split() for word in set(words)):
            if parts:
                word = "".join(parts)
                self._blanks[word] |= sum(1 << at for at in accumulate(map(len, parts[:-1])))
                lengths[word[0]].add(len(word))
        self._lengths = {first: sorted(some, reverse=True) for first, some in lengths.items()}
        self._ends_a_word = lru_cache(maxsize=50_000)(self._analysed_as_a_word)

    def __call__(self, text: str) -> Spans:
        """The start, end and tag of each word found in a tidy text, in order and disjoint."""
        places = [at for at, character in enumerate(text) if not character.isspace()]
        compact = "".join(text[at] for at in places)
        # Bit n is set when blanks stand before character n of `compact`.
        blanks = int("".join("1" if b - a > 1 else "0" for a, b in pairwise(places))[::-1] or "0", 2) << 1
        spans: Spans = []
        done = 0
        for candidate in _CANDIDATE.finditer(text):
            start = candidate.start()
            if start >= done and (lengths := self._lengths.get(text[start])):
                at = bisect_left(places, start)
                end = self._end(text, compact, places, blanks >> at, at, lengths)
                if end:
                    spans.append((start, end, _TAG))
                    done = end
        return spans

    def _end(self, text: str, compact: str, places: Sequence[int], blanks: int, at: int, lengths: Sequence[int]) -> int:
        """Where the longest word that begins at character `at` of `compact` ends; 0 when no word begins there."""
        tries = 0
        for length in lengths:
            word = compact[at : at + length]
            allowed = self._blanks.get(word)
            if allowed is None or len(word) < length or blanks & ~allowed & ((1 << length) - 2):
                continue
            end = places[at + length - 1] + 1
            if end == len(text) or not _kind(text[end]) or _kind(text[end - 1]) != _kind(text[end]):
                return end
            tail = _HANGUL.match(text, end)
            if tail and len(tail.group()) <= _LONGEST_TAIL and tries < _TRIES:
                tries += 1
                if self._ends_a_word(word, tail.group()):
                    return end
        return 0

    def _analysed_as_a_word(self, word: str, tail: str) -> bool:
        """Whether only particles, endings and suffixes follow `word` in `word + tail`, and the whole is no other word.

        It is another word when Kiwi finds a known one across the border: 하나 in 하나님.
        """
        kiwi = self._analyser.load()
        end = len(word)
        free, forced = kiwi.tokenize(word + tail), kiwi.tokenize(word + tail, pretokenized=[(0, end, _TAG)])
        if any(token.start < end < token.end and token.id > _GENERIC and token.tag[0] in "NM" for token in free):
            return False
        return all(str(token.tag).startswith(_AFTER_A_NAME) or token.form == "하" for token in forced[1:])


def _kind(character: str) -> str:
    """The type of a character: Hangul, digit or other letter; empty for signs and blanks."""
    if _HANGUL.match(character):
        return "hangul"
    return "digit" if character.isdigit() else "letter" if character.isalpha() else ""
