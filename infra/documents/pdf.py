"""From a PDF (ISO 32000) to text: pages, paragraphs joined from lines, headings from bookmarks or font sizes."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pypdfium2 import PdfDocument, PdfiumError, raw

from infra.documents.draft import Draft
from infra.documents.korean import is_salad
from infra.documents.pdf_lines import Line, Paragraph, joined, keeps_spaces, paragraphs, read_lines
from infra.documents.refusals import refused
from schemas.retrieval import ParsedDocument

MAX_BOOKMARKS: Final = 5_000
_HEADING_SIZE: Final = 1.15
"""A line whose font is at least this many times as large as the body's may be a heading."""

_MAX_HEADING_CHARS: Final = 80
_MAX_SHARE: Final = 0.25
"""If more than this share of a document is large text, it is design (slides, posters) and not headings."""

_SENTENCE_END: Final = re.compile(r"[.?!。]$|[다요]\.?$")
_LEADERS: Final = re.compile(r"(?:[.·․…⋯‥] ?){4,}")
"""The dot leaders of a table of contents."""

_UNREADABLE: Final = re.compile("[\x00-\x08\ue000-\uf8ff\ufffd]")
_BLANK: Final = re.compile(r"\s+")


def read_pdf(path: Path, max_chars: int) -> ParsedDocument:
    """The document of a file; form fields and pictures are not read.

    Raises `DocumentRefused`: `document_encrypted`, `document_damaged`, `document_no_text`, `document_garbled`,
    `document_too_large`.
    """
    try:
        with PdfDocument(path) as document:
            return _read(document, max_chars)
    except PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise refused("document_encrypted", "the PDF is protected by a password") from error
        raise refused("document_damaged", f"the PDF cannot be read: {error}") from error


def _read(document: PdfDocument, max_chars: int) -> ParsedDocument:
    pages = _pages(document, max_chars)
    found = [list(paragraphs(lines)) for lines in pages]
    spaces_kept = keeps_spaces([paragraph for page in found for paragraph in page])
    bookmarks = _bookmarks(document)
    levels = {} if bookmarks else _levels([line for lines in pages for line in lines])
    draft = Draft(max_chars)
    for number, page in enumerate(found):
        draft.page()
        blocks: list[tuple[int, str]] = []
        for paragraph in page:
            text = joined(paragraph, spaces_kept=spaces_kept)
            start = draft.add(text, level=_level(paragraph, text, levels), gap="\n\n" if paragraph.apart else "\n")
            blocks.append((start, _BLANK.sub("", text)))
        for level, title in bookmarks.get(number, ()):
            words = _BLANK.sub("", title)
            fitting = (start for start, text in blocks if text.startswith(words))
            within = (start for start, text in blocks if words in text)
            draft.mark(next(fitting, next(within, blocks[0][0] if blocks else draft.length)), level, title)
    return draft.finished(document.get_metadata_value("Title"))


def _pages(document: PdfDocument, max_chars: int) -> list[list[Line]]:
    pages: list[list[Line]] = []
    shown = unreadable = 0
    for page in document:
        text_page = page.get_textpage()
        lines = read_lines(text_page)
        text_page.close()
        page.close()
        shown += sum(len(line.text) for line in lines)
        unreadable += sum(len(_UNREADABLE.findall(line.text)) for line in lines)
        if shown > max_chars:
            raise refused("document_too_large", f"it holds more than {max_chars:,} characters of text")
        pages.append(lines)
    if not shown:
        raise refused("document_no_text", "the PDF holds pictures, but no text")
    if unreadable * 4 > shown or is_salad("".join(line.text for lines in pages for line in lines)):
        raise refused("document_garbled", "the PDF's fonts do not say which characters they show: its text is garbage")
    return pages


def _bookmarks(document: PdfDocument) -> Mapping[int, list[tuple[int, str]]]:
    """The level and title of the bookmarks that point to each page."""
    found: dict[int, list[tuple[int, str]]] = {}
    for bookmark in islice(document.get_toc(), MAX_BOOKMARKS):
        destination: Any = bookmark.get_dest()
        page = destination.get_index() if destination is not None else None
        if page is not None and (title := bookmark.get_title().strip()):
            found.setdefault(page, []).append((bookmark.level + 1, title))
    return found


def _levels(lines: Sequence[Line]) -> Mapping[float, int]:
    """The font sizes that are headings, and their levels: few short lines, clearly larger than the body."""
    chars: Counter[float] = Counter()
    for line in lines:
        chars[_size(line)] += len(line.text)
    body = max(chars, key=lambda size: chars[size])
    large = sorted((size for size in chars if size >= _HEADING_SIZE * body), reverse=True)
    if sum(chars[size] for size in large) > _MAX_SHARE * chars.total():
        return {}
    return {size: level for level, size in enumerate(large, start=1) if level <= 6}


def _level(paragraph: Paragraph, text: str, levels: Mapping[float, int]) -> int | None:
    level = levels.get(_size(paragraph.lines[0]))
    if level is None or len(text) > _MAX_HEADING_CHARS or paragraph.lines[0].cells:
        return None
    return None if _SENTENCE_END.search(text) or _LEADERS.search(text) else level


def _size(line: Line) -> float:
    return round(line.size * 2) / 2
