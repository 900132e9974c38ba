"""Finds the lines of a PDF page and joins them into paragraphs, because a PDF itself knows only glyphs."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from ctypes import c_double
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import Any, Final
from unicodedata import east_asian_width

from pypdfium2 import raw

_HYPHEN: Final = "\x02"
"""What PDFium puts for a hyphen at the end of a line; it drops the line break."""

_CELL_GAP: Final = 1.5
"""In font sizes: a wider gap separates table cells. Even a wide space between words stays below one."""

_MAX_PITCH: Final = 2.4
"""The largest distance between two lines of one paragraph, in font sizes; Korean offices set lines at 160 to 200 %."""

_ITEM: Final = re.compile(
    r"[-–•·∙○●◦□■▪◇◆※*▶①-⑳㉠-㉻]|[ㅇo] |[<\[【]|\(?(\d{1,3}|[가-하a-zA-Z])[.)] |\d{1,2}([.-]\d{1,2})+\.? "
    r"|제\s?\d+\s?[편장절관조항]"
)
"""The beginning of a list item, a heading or an article of law, each of which starts a paragraph."""

_WORDS: Final = re.compile(r"\S+")
_COLUMN: Final = 36.0
"""In points: lines whose left edges are closer than this are in one column."""


@dataclass(slots=True)
class Line:
    """A line in points, origin at the lower left. `spaced`: white space follows it. `cells`: it is a table row."""

    text: str
    left: float
    right: float
    baseline: float
    size: float
    spaced: bool
    cells: bool


@dataclass(slots=True)
class Paragraph:
    """Lines that belong together. `apart`: a blank line comes before it."""

    lines: list[Line]
    apart: bool


def read_lines(page: Any) -> list[Line]:
    """The lines of a text page in drawing order, without empty ones."""
    codes = [raw.FPDFText_GetUnicode(page, index) for index in range(page.count_chars())]
    text = "".join(map(chr, codes))
    lines = []
    for match in re.finditer(r"[^\r\n\x02]*(\x02|[\r\n]+|\Z)", text):
        first, end = match.span()
        end -= len(match[1])
        shown = text[first:end]
        stripped = shown.strip()
        if stripped:
            first += len(shown) - len(shown.lstrip())
            lines.append(_line(page, text, first, first + len(stripped), match[1] == _HYPHEN, shown[-1:].isspace()))
    return lines


def paragraphs(lines: Sequence[Line]) -> Iterator[Paragraph]:
    """Joins lines by position: a line continues a paragraph if its first word did not fit on the line before."""
    lefts: defaultdict[int, float] = defaultdict(lambda: float("inf"))
    rights: defaultdict[int, float] = defaultdict(float)
    for line in lines:
        for column in range(_column(line) - 1, _column(line) + 2):
            lefts[column] = min(lefts[column], line.left)
            rights[column] = max(rights[column], line.right)
    if lines:
        current = Paragraph([lines[0]], apart=True)
        for line, following in pairwise(lines):
            near = _near(line, following)
            if near and _goes_on(line, following, rights[_column(line)], current.lines[0]):
                current.lines.append(following)
            else:
                yield current
                ended = line.text.endswith((".", "?", "!", "다", "요"))
                current = Paragraph([following], apart=not (line.cells and following.cells) and (ended or not near))
        yield current


def joined(paragraph: Paragraph, *, spaces_kept: bool) -> str:
    """The paragraph's text. Where spaces at line ends are kept, a line that ends without one breaks a word."""
    text = paragraph.lines[0].text
    for line, following in pairwise(paragraph.lines):
        if text.endswith(_HYPHEN):
            text = text[:-1] + ("" if following.text[:1].islower() else "-") + following.text
        elif spaces_kept and not line.spaced and _is_wide(text[-1]) and _is_wide(following.text[0]):
            text += following.text
        else:
            text += f" {following.text}"
    return text.replace(_HYPHEN, "-")


def keeps_spaces(found: Sequence[Paragraph]) -> bool:
    """Whether this PDF keeps, at the end of its lines, the spaces at which they were broken."""
    breaks = [line.spaced for one in found for line, following in pairwise(one.lines) if _is_wide(following.text[0])]
    return sum(breaks) * 10 > len(breaks)


def _line(page: Any, text: str, first: int, end: int, hyphen: bool, spaced: bool) -> Line:
    x, y = c_double(), c_double()
    raw.FPDFText_GetCharOrigin(page, first, x, y)
    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(page, first, matrix)
    size = raw.FPDFText_GetFontSize(page, first) * (hypot(matrix.b, matrix.d) or 1.0)
    words = list(_WORDS.finditer(text, first, end))
    pieces = [words[0][0]]
    cells = False
    for word, following in pairwise(words):
        gap = _left(page, following.start()) - _right(page, word.end() - 1)
        is_cell = gap > _CELL_GAP * size > 0
        cells = cells or is_cell
        pieces += [" | " if is_cell else " ", following[0]]
    # PDFium returns characters outside the basic plane as two surrogates.
    shown = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    left, right = _left(page, first), _right(page, end - 1)
    return Line(shown + _HYPHEN * hyphen, left, right, y.value, size, spaced, cells)


def _left(page: Any, index: int) -> float:
    box = raw.FS_RECTF()
    raw.FPDFText_GetLooseCharBox(page, index, box)
    return float(box.left)


def _right(page: Any, index: int) -> float:
    box = raw.FS_RECTF()
    raw.FPDFText_GetLooseCharBox(page, index, box)
    return float(box.right)


def _column(line: Line) -> int:
    return int(line.left // _COLUMN)


def _near(line: Line, following: Line) -> bool:
    """Whether `following` is directly below `line`, in the same size."""
    pitch = line.baseline - following.baseline
    alike = abs(line.size - following.size) <= 0.05 * line.size
    return alike and 0.8 * line.size < pitch < _MAX_PITCH * line.size


def _goes_on(line: Line, following: Line, right: float, first: Line) -> bool:
    if line.cells or following.cells or _ITEM.match(following.text):
        return False
    if following.left > line.left + 0.8 * line.size and not _ITEM.match(first.text):
        return False
    if line.text.endswith(_HYPHEN):
        return True
    word = following.text.split(maxsplit=1)[0]
    width = sum(line.size if _is_wide(char) else 0.55 * line.size for char in word)
    # Where words are broken anywhere, a broken line is full: it leaves room for two characters at most.
    return line.right + min(width, 12 * line.size) + 0.3 * line.size > right or line.right > right - 2 * line.size


def _is_wide(char: str) -> bool:
    return east_asian_width(char) in "WF"
