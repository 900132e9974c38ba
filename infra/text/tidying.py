"""Normalises text to the form that terms are taken from, and maps its characters back to the original."""

import re
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.normalisation import MAX_MARKS, long_runs, marks

_UNREADABLE: Final = re.compile("[\x00\ud800-\udfff]")
_JAMO_THAT_JOIN: Final = [chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))]

_INVISIBLE: Final = (
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x17B4, 0x17B5, 0xFEFF, *range(0x180B, 0x1810), *range(0x200B, 0x2010)),
    *(*range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFE00, 0xFE10), *range(0x1BCA0, 0x1BCA4)),
    *(*range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)),
)
"""Characters that are invisible within a word: Default_Ignorable_Code_Point, except the Hangul fillers, which are
blanks."""

_INVISIBLE_HERE: Final = re.compile("[" + "".join(chr(code) for code in _INVISIBLE if code < 0x10000) + "]")
_BEYOND: Final = re.compile("[\U00010000-\U0010ffff]")
_PLAIN, _JOINS, _MOVES, _DROPPED = range(4)
_PLANES: Final = 0x30000
"""Characters from here on neither join another one nor change."""

_FILLERS: Final = ("\u3164", "\uffa0")
_COMPATIBILITY_JAMO: Final = range(0x3131, 0x318F)


class Tidied(NamedTuple):
    """`text` is tidy; `origin[i]` is the original offset of what became `text[i]`. `origin` is None when nothing moved.

    `origin` has one more entry, for the end.
    """

    text: str
    origin: NDArray[np.int64] | None

    def original(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """The original's offsets for offsets in the tidy text."""
        return offsets if self.origin is None else self.origin[offsets]


def readable(text: str) -> str:
    """`text` with a blank for each NUL and lone surrogate, which Kiwi cannot read; the length stays the same."""
    return _UNREADABLE.sub(" ", text)


def tidy(text: str) -> str:
    """The text that terms are taken from: NFKC except for single Jamo, lower case, no invisible characters."""
    return tidied(text).text


def tidied(text: str) -> Tidied:
    """`tidy(text)` with its offsets; takes linear time, and almost none when nothing moves."""
    # İ is the only letter that grows in lower case; without it, offsets stay valid (Unicode, SpecialCasing.txt).
    text = readable(text).replace("İ", "I")
    if not _is_tidy(text):
        text, origin = _folded(text)
    else:
        origin = None
    return Tidied(text.lower(), origin)


def _is_tidy(text: str) -> bool:
    return text.isascii() or (
        unicodedata.is_normalized("NFKC", text)
        and not _INVISIBLE_HERE.search(text)
        and not (_BEYOND.search(text) and _DROPPED in _kinds()[np.frombuffer(text.encode("utf-32-le"), np.uint32)])
    )


def _folded(text: str) -> tuple[str, NDArray[np.int64]]:
    """The text without dropped characters, runs that may change replaced by their NFKC, and each character's offset."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    kinds = _kinds()[codes]
    keep = kinds != _DROPPED
    # A run with more marks than any script uses would take quadratic time.
    for run in long_runs(text).finditer(text):
        keep[run.start() + MAX_MARKS : run.end()] = False
    kept = np.flatnonzero(keep)
    text = codes[kept].tobytes().decode("utf-32-le")
    kinds = kinds[kept]
    starts, ends = _runs(kinds)
    pieces: list[str] = []
    lengths: list[int] = []
    done = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        folded = _fold(text[start:end])
        pieces += (text[done:start], folded)
        lengths.append(len(folded))
        done = end
    pieces.append(text[done:])
    # How many characters each one became; a whole run is counted at its first character.
    became = np.ones(len(text), np.int64)
    became[kinds == _JOINS] = 0
    became[starts] = lengths
    origin = np.append(np.repeat(kept, became), len(codes))
    # A dropped character belongs to the one before it; at the beginning, to the one after it.
    if len(origin) > 1:
        origin[origin == origin[0]] = 0
    return "".join(pieces), origin


def _runs(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where runs that NFKC may change begin and end: a character with those that join it, or one that changes alone.

    The NFKC of a text is that of these runs and of what lies between them, each taken alone, because each begins with
    a character that joins nothing before it (Unicode Standard Annex 15, section 9).
    """
    joins = kinds == _JOINS
    joined = np.append(joins[1:], False)
    first = np.arange(len(kinds)) == 0
    starts = np.flatnonzero((~joins | first) & (joined | (kinds == _MOVES) | joins))
    others = np.append(np.flatnonzero(~joins), len(kinds))
    return starts, others[np.searchsorted(others, starts + 1)]


@lru_cache(maxsize=10_000)
def _fold(run: str) -> str:
    """The NFKC of a character and those that join it. Single Jamo, as in ㅋㅋ and ㉠, stay as Kiwi knows them."""
    if len(run) == 1:
        if run in _FILLERS:
            return " "
        if ord(run) in _COMPATIBILITY_JAMO:
            return run
        folded = unicodedata.normalize("NFKC", run)
        # What does not change is kept, as it is where nothing else in the text changes: a vowel with nothing to join.
        return run if folded == run else "".join(_single_jamo().get(c, c) for c in folded)
    folded = unicodedata.normalize("NFKC", run)
    return unicodedata.normalize("NFKC", folded.replace("İ", "I")) if "İ" in folded else folded


@lru_cache(maxsize=1)
def _single_jamo() -> dict[str, str]:
    return {unicodedata.normalize("NFKC", chr(code)): chr(code) for code in reversed(_COMPATIBILITY_JAMO)}


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """For each code point, whether it joins the one before it, is replaced by NFKC, or is dropped."""
    joins, moves = {*_JAMO_THAT_JOIN, *marks()}, set()
    for code in range(_PLANES):
        character = chr(code)
        mapping = unicodedata.decomposition(character)
        if mapping:
            parts = mapping.split()
            if len(parts) == 2 and parts[0][0] != "<" and unicodedata.normalize("NFC", character) == character:
                joins.add(chr(int(parts[1], 16)))
            if unicodedata.normalize("NFKC", character) != character:
                moves.add(character)
    kinds = np.zeros(0x110000, np.uint8)
    kinds[[ord(character) for character in moves]] = _MOVES
    kinds[[ord(character) for character in joins]] = _JOINS
    kinds[list(_INVISIBLE)] = _DROPPED
    return kinds
