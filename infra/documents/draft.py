"""Builds a document's text block by block, and records where its headings and pages begin."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Final

from infra.documents.refusals import refused
from schemas.normalisation import nfc
from schemas.retrieval import Heading, ParsedDocument

MAX_TITLE_CHARS: Final = 500
MAX_HEADING_CHARS: Final = 200
"""A longer text is not a heading, even if it is styled as one."""

MAX_HEADINGS: Final = 20_000
HEADINGS_CHARS: Final = 500_000
"""So many headings a document keeps, and characters of all together: a page of nothing else would have the worker read
millions of them.
"""

REPEATED_CHARS: Final = 200
"""Up to this length, a cell that spans rows is repeated in each, because each line of a table is read by itself."""

_REPEATS: Final = 50
"""How many rows a cell may be repeated in, on average over all cells: a small file must not become a large text."""

_LINE_BREAK: Final = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufeff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Titles that programs set when the author gave none.
_NO_TITLE: Final = re.compile(
    r"untitled|document ?\d*|문서 ?\d*|제목 ?없음|빈 문서.*|microsoft \w+ - .*|powerpoint .*"
    r"|.*\.(docx?|hwpx?|pdf|html?|md|txt)",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """NFC, `\\n` as the only line break, no control characters; a lone surrogate becomes U+FFFD."""
    text = _INVISIBLE.sub("", _LINE_BREAK.sub("\n", text))
    return nfc(_SURROGATE.sub("\ufffd", text))


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: the row and column of its upper left corner, from 0, and how many rows and columns it spans."""

    row: int
    column: int
    text: str
    rows: int = 1


def table_text(cells: Iterable[Cell]) -> str:
    """One line per row, cells joined by ` | `.

    A cell that spans rows appears in each of them; a cell that spans columns appears once. Cells of a damaged file that
    are in one place are joined.
    """
    lines: dict[int, dict[int, str]] = {}
    placed = list(cells)
    height = max((cell.row for cell in placed), default=0) + 1
    left = _REPEATS * len(placed)
    for cell in placed:
        text = " ".join(cell.text.split())
        rows = cell.rows if len(text) <= REPEATED_CHARS else 1
        rows = max(1, min(rows, height - cell.row, left))
        left -= rows
        for row in range(cell.row, cell.row + rows):
            line = lines.setdefault(row, {})
            line[cell.column] = f"{line.get(cell.column, '')} {text}".strip()
    joined = (" | ".join(row[column] for column in sorted(row)) for _, row in sorted(lines.items()))
    return "\n".join(line for line in (line.rstrip(" |") for line in joined) if line.strip(" |"))


class Draft:
    """Collects blocks of text. Raises `DocumentRefused` (`document_too_large`) past `max_chars` characters."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._pieces: list[str] = []
        self._length = 0
        self._headings: list[Heading] = []
        self._pages: list[int] = []
        self._pages_to_come = 0
        self.lost: list[str] = []
        """What of the file could not be read."""

    @property
    def length(self) -> int:
        """The number of characters so far."""
        return self._length

    def add(self, text: str, *, level: int | None = None, gap: str = "\n\n") -> int:
        """Append a block `gap` after the previous one, as a heading if it has a `level`; returns where it begins."""
        text = clean(text).strip()
        if not text:
            return self._length
        if self._pieces:
            self._append(gap)
        start = self._length
        self._pages += [start] * self._pages_to_come
        self._pages_to_come = 0
        if level is not None:
            self.mark(start, level, text)
        self._append(text)
        return start

    def mark(self, start: int, level: int, text: str) -> None:
        """Record a heading that begins at `start`. Headings may be recorded in any order."""
        words = " ".join(clean(text).split())
        if 0 < len(words) <= MAX_HEADING_CHARS:
            self._headings.append(Heading(start, max(1, level), words))

    def page(self) -> None:
        """Begin a page with the next block."""
        self._pages_to_come += 1

    def finished(self, *titles: str | None) -> ParsedDocument:
        """The document, titled by the first usable one of `titles`, else by its first heading of the highest level.

        Raises `DocumentRefused` (`document_empty`).
        """
        if not self._pieces:
            raise refused("document_empty", "there is no text in the document")
        pages = [*self._pages, *[self._length] * self._pages_to_come]
        if pages:
            pages[0] = 0
        headings = sorted(_most_important(self._headings), key=lambda heading: heading.start)
        highest = min(headings, key=lambda heading: heading.level, default=None)
        names = [*titles, highest.text if highest else None]
        title = next((name for name in map(_title, names) if name), None)
        return ParsedDocument("".join(self._pieces), title, headings, pages, self.lost)

    def _append(self, piece: str) -> None:
        self._length += len(piece)
        if self._length > self._max_chars:
            raise refused("document_too_large", f"it holds more than {self._max_chars:,} characters of text")
        self._pieces.append(piece)


def _most_important(headings: list[Heading]) -> list[Heading]:
    """Those of the highest levels, the first of each; the others are text like any other."""
    ranked = sorted(headings, key=lambda heading: heading.level)[:MAX_HEADINGS]
    totals = accumulate(len(heading.text) for heading in ranked)
    return ranked[: sum(1 for _ in takewhile(lambda total: total <= HEADINGS_CHARS, totals))]


def _title(name: str | None) -> str | None:
    title = " ".join(clean(name or "").split())
    return title[:MAX_TITLE_CHARS].strip() if title and not _NO_TITLE.fullmatch(title) else None
