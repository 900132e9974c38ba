"""Unicode normalisation in linear time, for all that a tenant sends: names here, documents and questions in `infra`.

`unicodedata.normalize` sorts the combining marks behind a character by insertion: n marks cost n squared steps, with
the interpreter lock held. So runs of marks are bounded first, as in Unicode's stream-safe format (UAX 15, section 13).
"""

import re
from functools import lru_cache
from typing import Final
from unicodedata import combining, decomposition, is_normalized, normalize

MAX_MARKS: Final = 30
"""The longest run of marks in any living script (UAX 15, section 13)."""

_JOINER: Final = "\u034f"
"""COMBINING GRAPHEME JOINER: marks are not sorted across it, and it is invisible."""

_FIRST_BEYOND: Final = "\U00010000"
_BEYOND: Final = re.compile("[\U00010000-\U0010ffff]")
"""Characters beyond the basic plane."""

_PLANES: Final = (range(0x20000), range(0xE0000, 0xE1000))
"""Where there are characters that are not ideographs of the further planes."""


def nfc(text: str) -> str:
    """Unicode form NFC; within a run of marks with a joiner after each 30."""
    return text if is_normalized("NFC", text) else normalize("NFC", stream_safe(text))


def stream_safe(text: str) -> str:
    """The same text with U+034F after each 30 marks in a row, so that it is normalised in linear time."""
    return text if text.isascii() else long_runs(text).sub(_broken, text)


def long_runs(text: str) -> re.Pattern[str]:
    """The pattern that finds runs of more than 30 marks in `text`."""
    return _runs(_BEYOND.search(text) is not None)


@lru_cache(maxsize=2)
def _runs(beyond: bool) -> re.Pattern[str]:
    # A set within the basic plane is a table; one beyond it is a list, and takes fifty times as long.
    one = f"[{re.escape(''.join(sorted(c for c in marks() if beyond or c < _FIRST_BEYOND)))}]"
    # Written twice: a search for one character skips ahead, a search for a run does not.
    return re.compile(f"{one}{one}{{{MAX_MARKS},}}")


@lru_cache(maxsize=1)
def marks() -> frozenset[str]:
    """Characters that combine with the one before, or whose decomposition begins with one that does."""
    characters = (chr(code) for plane in _PLANES for code in plane)
    return frozenset(c for c in characters if combining(c) or (decomposition(c) and combining(normalize("NFKD", c)[0])))


def _broken(run: re.Match[str]) -> str:
    marks = run[0]
    return _JOINER.join(marks[at : at + MAX_MARKS] for at in range(0, len(marks), MAX_MARKS))
