"""Text as terms are taken from it, and where each of its characters stands in the original."""

import re
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_UNREADABLE: Final = re.compile("[\x00\ud800-\udfff]")
_JAMO_THAT_JOIN: Final = [chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))]


class Tidied(NamedTuple):
    """`text` is tidy; `origin[i]` is the offset in the original of what became `text[i]`, None where none moved.

    `origin` has one entry more, for the end.
    """

    text: str
    origin: NDArray[np.int64] | None

    def original(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Offsets in the original for offsets in the tidy text."""
        return offsets if self.origin is None else self.origin[offsets]


def readable(text: str) -> str:
    """`text` with a blank for each NUL and lone surrogate, which Kiwi cannot read; of the same length."""
    return _UNREADABLE.sub(" ", text)


def tidy(text: str) -> str:
    """Text as terms are taken from it: NFC, lower case, without NUL and lone surrogates."""
    # İ is the one letter that grows when it is made small: as it is, offsets hold (Unicode, SpecialCasing.txt).
    return unicodedata.normalize("NFC", readable(text)).replace("İ", "I").lower()


def tidied(text: str) -> Tidied:
    """`tidy(text)` with its offsets; linear, and next to nothing where the text is in NFC already."""
    clean = tidy(text)
    return Tidied(clean, None if unicodedata.is_normalized("NFC", text) else _origin(readable(text)))


def _origin(text: str) -> NDArray[np.int64]:
    parts: list[NDArray[np.int64]] = []
    done = 0
    for match in _joining().finditer(text):
        start, end = match.span()
        length = len(unicodedata.normalize("NFC", match.group()))
        parts += [np.arange(done, start), np.full(length, start)]
        done = end
    return np.concatenate([*parts, np.arange(done, len(text) + 1)])


@lru_cache(maxsize=1)
def _joining() -> re.Pattern[str]:
    """Runs that NFC may change the length of: a character with what can join it, or one that falls apart by itself.

    NFC of a text is that of such runs and of what is between them, one by one, because each begins with a character
    that joins nothing before it (Unicode Standard Annex 15, section 9).
    """
    joins, alone = set(_JAMO_THAT_JOIN), set()
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.combining(character):
            joins.add(character)
        mapping = unicodedata.decomposition(character)
        if mapping and not mapping.startswith("<"):
            parts = mapping.split()
            composed = unicodedata.normalize("NFC", character)
            if composed == character and len(parts) == 2:
                joins.add(chr(int(parts[1], 16)))
            if len(composed) != 1:
                alone.add(character)
    return re.compile(f".[{''.join(joins)}]+|[{''.join(alone)}]", re.DOTALL)
