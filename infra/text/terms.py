"""The search terms of a text: the ids of its content morphemes and of its character bigrams."""

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

import numpy as np
from kiwipiepy import Kiwi, Token
from numpy.typing import NDArray

CONTENT_TAGS: Final = frozenset(["NNG", "NNP", "NNB", "NR", "NP", "VV", "VA", "XR", "SL", "SH", "SN", "MAG", "MM"])
"""Kiwi's tags of morphemes that carry meaning; its web tags (`W_URL`, `W_HASHTAG`, ...) count as well."""

_WORD: Final = re.compile(r"[^\W_]+")
_NO_TERM: Final = -1
_BY_FORM: Final = -2


def is_content(tag: str) -> bool:
    """Whether a morpheme carries meaning by itself. Kiwi marks irregular stems `VV-I`, regular ones `VV-R`."""
    return tag.split("-")[0] in CONTENT_TAGS or tag.startswith("W_")


def bigrams(text: str) -> Iterator[str]:
    """Pairs of neighbouring letters or digits within a word; a word of one character counts as a pair by itself."""
    for match in _WORD.finditer(text):
        word = match.group()
        if len(word) == 1:
            yield word
        for first, second in itertools.pairwise(word):
            yield first + second


def morpheme_id(form: str) -> int:
    """The uint32 id of a morpheme, the same in every process: CRC-32 of its UTF-8, ignoring white space."""
    return crc32(b"m\x00" + "".join(form.split()).encode())


def bigram_id(pair: str) -> int:
    """The uint32 id of a pair as `bigrams` returns it, the same in every process."""
    (term,) = bigram_ids(pair)[0].tolist()
    return int(term)


def bigram_ids(text: str) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The ids of `bigrams(text)` and the offset of each one's first character; takes about 20 ns a character."""
    # Padding at both ends gives every character two neighbours.
    codes = np.frombuffer(f"\0{text}\0".encode("utf-32-le"), np.uint32)
    inside = _letters()[codes]
    before, here, after = inside[:-2], inside[1:-1], inside[2:]
    offsets = np.flatnonzero(here & (after | ~before))
    first = codes[1:-1][offsets].astype(np.uint64)
    second = codes[2:][offsets] * after[offsets]
    return _mix(first << np.uint64(21) | second), offsets


def _mix(keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The upper half of SplitMix64's finaliser (Steele, Lea and Flood 2014): neighbouring keys get unrelated ids."""
    mixed = keys + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)


@lru_cache(maxsize=1)
def _letters() -> NDArray[np.bool_]:
    """For each code point, whether it is a letter or a digit."""
    return np.fromiter((chr(code).isalnum() for code in range(0x110000)), np.bool_, 0x110000)


class Vocabulary(dict[int, int]):
    """Term ids by Kiwi's own morpheme number: one look-up, where a form would be a new string each time.

    Numbers and foreign, Chinese and unknown words have no morpheme number; their terms are computed from their forms.
    """

    def __init__(self, kiwi: Kiwi) -> None:
        super().__init__()
        self._kiwi = kiwi

    def __missing__(self, number: int) -> int:
        """Several threads may get here at once; they compute the same value."""
        if number < 0:
            return _BY_FORM
        morpheme = self._kiwi.morpheme(number)
        if not is_content(str(morpheme.tag)):
            found = _NO_TERM
        else:
            found = morpheme_id(morpheme.form) if morpheme.form else _BY_FORM
        self[number] = found
        return found

    def terms(self, tokens: Sequence[Token]) -> NDArray[np.int64]:
        """The term of each token; negative for a token that carries no meaning."""
        found = np.fromiter([self[token.id] for token in tokens], np.int64, len(tokens))
        for at in np.flatnonzero(found == _BY_FORM).tolist():
            token = tokens[at]
            found[at] = morpheme_id(token.form) if is_content(str(token.tag)) else _NO_TERM
        return found
