"""From a DOCX document (ECMA-376) to text: paragraphs, headings by style or outline level, tables, footnotes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import docx
from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml

from infra.documents.containers import check_archive
from infra.documents.docx_lists import Lists
from infra.documents.draft import Cell, Draft, table_text
from infra.documents.numbering import labelled
from infra.documents.refusals import refused
from schemas.retrieval import ParsedDocument

_HEADING_STYLE: Final = re.compile(r"(?:heading|제목|개요) ?([1-9])", re.IGNORECASE)
_TITLE_STYLES: Final = frozenset({"title", "제목"})
_SKIPPED: Final = frozenset(qn(name) for name in ("w:del", "w:moveFrom", "w:rPr", "w:pPr", "w:instrText"))
_FALLBACK: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
"""What older programs show instead of the choice before it: the same text again."""

_PARAGRAPH, _TABLE, _TEXT = qn("w:p"), qn("w:tbl"), qn("w:t")
_BREAKS: Final = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_RENDERED_BREAK: Final = qn("w:lastRenderedPageBreak")
_BOX: Final = qn("w:txbxContent")


def read_docx(path: Path, max_chars: int) -> ParsedDocument:
    """The document of a file. Pages are those that Word recorded when it saved (`lastRenderedPageBreak`).

    Raises `DocumentRefused`, with `document_damaged` among its codes.
    """
    check_archive(path)
    try:
        document = docx.Document(str(path))
    except ValueError as error:
        raise refused("document_format_unknown", f"it is a Word file of another kind: {error}") from error
    return _Reading(document, max_chars).read()


class _Reading:
    """One pass over the body. Reads content controls, tracked insertions and text boxes, but not deletions."""

    def __init__(self, document: Document, max_chars: int) -> None:
        self._document = document
        self._draft = Draft(max_chars)
        self._levels = _levels(document)
        self._lists = Lists(document)
        self._title: str | None = None
        self._has_pages = False

    def read(self) -> ParsedDocument:
        body = self._document.element.body
        self._has_pages = next(body.iter(_RENDERED_BREAK), None) is not None
        if self._has_pages:
            self._draft.page()
        self._blocks(body)
        for relationship in (RELATIONSHIP_TYPE.FOOTNOTES, RELATIONSHIP_TYPE.ENDNOTES):
            for part in self._document.part.rels.values():
                if part.reltype == relationship and not part.is_external:
                    self._blocks(parse_xml(part.target_part.blob))
        return self._draft.finished(self._document.core_properties.title, self._title)

    def _blocks(self, parent: Any) -> None:
        for element in _blocks(parent):
            if element.tag == _TABLE:
                self._pages(element)
                self._draft.add(table_text(self._cells(element)))
            else:
                self._paragraph(element)

    def _paragraph(self, element: Any) -> None:
        text, before = _text(element)
        label, between, listed = self._lists.label(element)
        text = labelled(label, text, between)
        level = self._level(element)
        if level == 0:
            self._title = self._title or " ".join(text.split())
        if self._has_pages and before:
            self._draft.page()
        gap = "\n" if listed and level is None else "\n\n"
        self._draft.add(text, level=level or None, gap=gap)
        if self._has_pages:
            for _ in range(sum(1 for _ in element.iter(_RENDERED_BREAK)) - before):
                self._draft.page()
        for box in _under(element, _BOX, skipped=_SKIPPED | {_FALLBACK}):
            self._blocks(box)

    def _pages(self, table: Any) -> None:
        if self._has_pages:
            for _ in table.iter(_RENDERED_BREAK):
                self._draft.page()

    def _cells(self, table: Any) -> Iterator[Cell]:
        """The cells with text; a cell that continues the one above (`vMerge`) makes that one taller."""
        rows = list(_under(table, qn("w:tr")))
        open_cells: dict[int, tuple[int, str, int]] = {}
        for number, row in enumerate(rows):
            before = row.find(f"{qn('w:trPr')}/{qn('w:gridBefore')}")
            column = _number(before) if before is not None else 0
            for cell in _under(row, qn("w:tc")):
                properties = cell.find(qn("w:tcPr"))
                span = properties.find(qn("w:gridSpan")) if properties is not None else None
                merge = properties.find(qn("w:vMerge")) if properties is not None else None
                if merge is not None and merge.get(qn("w:val")) != "restart" and column in open_cells:
                    start, text, height = open_cells[column]
                    open_cells[column] = (start, text, height + 1)
                else:
                    if column in open_cells:
                        start, text, height = open_cells.pop(column)
                        yield Cell(start, column, text, height)
                    open_cells[column] = (number, self._cell_text(cell), 1)
                column += max(1, _number(span)) if span is not None else 1
        for column, (start, text, height) in open_cells.items():
            yield Cell(start, column, text, height)

    def _cell_text(self, cell: Any) -> str:
        pieces = []
        for element in _blocks(cell):
            if element.tag == _TABLE:
                pieces.append(" / ".join(table_text(self._cells(element)).split("\n")))
            else:
                label, between, _ = self._lists.label(element)
                pieces.append(labelled(label, _text(element)[0], between))
        return " ".join(pieces)

    def _level(self, element: Any) -> int | None:
        """The level of a heading, 1 to 9; 0 for the title, None for body text."""
        properties = element.find(qn("w:pPr"))
        if properties is None:
            return None
        outline = properties.find(qn("w:outlineLvl"))
        if outline is not None:
            return _outline(outline)
        style = properties.find(qn("w:pStyle"))
        return self._levels.get(style.get(qn("w:val"))) if style is not None else None


def _levels(document: Document) -> dict[str, int | None]:
    """The heading level of each paragraph style, its own or inherited from the style that it is based on."""
    own: dict[str, tuple[int | None, str | None]] = {}
    for style in document.styles.element.iter(qn("w:style")):
        name = style.find(qn("w:name"))
        words = (name.get(qn("w:val")) or "") if name is not None else ""
        outline = style.find(f"{qn('w:pPr')}/{qn('w:outlineLvl')}")
        level = None
        if matched := _HEADING_STYLE.fullmatch(words.strip()):
            level = int(matched[1])
        elif words.strip().lower() in _TITLE_STYLES:
            level = 0
        elif outline is not None:
            level = _outline(outline)
        based = style.find(qn("w:basedOn"))
        own[style.get(qn("w:styleId"))] = (level, based.get(qn("w:val")) if based is not None else None)
    levels: dict[str, int | None] = {}
    for name in own:
        level, based_on = own[name]
        seen = {name}
        while level is None and based_on in own and based_on not in seen:
            seen.add(based_on)
            level, based_on = own[based_on]
        levels[name] = level
    return levels


def _outline(element: Any) -> int | None:
    """The outline level as ECMA-376 17.3.1.20 defines it: 0 to 8 are levels, 9 is body text."""
    value = element.get(qn("w:val")) or ""
    return int(value) + 1 if value.isdecimal() and int(value) < 9 else None


def _blocks(parent: Any) -> Iterator[Any]:
    """The paragraphs and tables directly under `parent`, including those inside content controls and insertions."""
    stack = list(reversed(parent))
    while stack:
        element = stack.pop()
        if element.tag in (_PARAGRAPH, _TABLE):
            yield element
        elif element.tag not in _SKIPPED and element.tag != _FALLBACK:
            stack.extend(reversed(element))


def _text(paragraph: Any) -> tuple[str, int]:
    """A paragraph's text without its text boxes, and 1 if a page begins before its first character, else 0."""
    pieces: list[str] = []
    before = 0
    begun = False
    stack = list(reversed(paragraph))
    while stack:
        element = stack.pop()
        if element.tag == _TEXT:
            pieces.append(element.text or "")
            begun = begun or bool(pieces[-1].strip())
        elif element.tag in _BREAKS:
            pieces.append(_BREAKS[element.tag])
        elif element.tag == _RENDERED_BREAK and not begun:
            before = 1
        elif element.tag not in _SKIPPED and element.tag not in (_FALLBACK, _BOX):
            stack.extend(reversed(element))
    return "".join(pieces), before


def _under(parent: Any, tag: str, *, skipped: frozenset[str] = _SKIPPED | {_TABLE, _PARAGRAPH}) -> Iterator[Any]:
    """Descendants with this tag, except those nested in one another or inside a skipped element."""
    stack = list(reversed(parent))
    while stack:
        element = stack.pop()
        if element.tag == tag:
            yield element
        elif element.tag not in skipped:
            stack.extend(reversed(element))


def _number(element: Any) -> int:
    value = element.get(qn("w:val")) or ""
    return min(int(value), 1000) if value.isdecimal() else 0
