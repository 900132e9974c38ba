"""Dates and articles of law, however they are spelled, become terms of their own beside their words.

`2024.03.05`, `2024-3-5` and `2024년 3월 5일` are one date; `제 3 조의 2` is 제3조의2, not 제3조. Without this, a
question about 제3조 would also find 제3조의3, because their morphemes and bigrams are the same.
"""

import re
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_BLANKS: Final = r"[ \t\u00a0]{0,3}"
_REFERENCE: Final = re.compile(
    rf"(?<!\d)(?P<year>\d{{4}})(?:{_BLANKS}년{_BLANKS}|{_BLANKS}[./-]{_BLANKS})(?P<month>\d{{1,2}})"
    rf"(?:(?:{_BLANKS}월{_BLANKS}|{_BLANKS}[./-]{_BLANKS})(?P<day>\d{{1,2}})(?!\d)|{_BLANKS}월)"
    rf"|제{_BLANKS}(?P<number>\d{{1,5}}){_BLANKS}(?P<unit>[편장절관조항호목])(?:{_BLANKS}의{_BLANKS}(?P<branch>\d{{1,3}})(?!\d))?"
)


def references(text: str) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The ids of the dates and articles that a tidy text names, and the offset where each begins."""
    found: list[tuple[int, int]] = []
    for match in _REFERENCE.finditer(text):
        found += ((reference_id(name), match.start()) for name in _names(match))
    return (
        np.fromiter((term for term, _ in found), np.uint32, len(found)),
        np.fromiter((at for _, at in found), np.int64, len(found)),
    )


def reference_id(name: str) -> int:
    """The uint32 id of a date (`2024-3-5`, `2024-3`) or an article (`제3조의2`), the same in every process."""
    return crc32(b"r\x00" + name.encode())


def _names(match: re.Match[str]) -> list[str]:
    if match["unit"]:
        branch = f"의{int(match['branch'])}" if match["branch"] else ""
        return [f"제{int(match['number'])}{match['unit']}{branch}"]
    year, month, day = (int(match[part] or 0) for part in ("year", "month", "day"))
    if not 1 <= month <= 12 or day > 31:
        return []
    return [f"{year}-{month}", *([f"{year}-{month}-{day}"] if day else [])]
