"""Turns the markup of HWPX (OWPML, KS X 6101) into text; HWP files are first converted to it (`hangul.py`).

Reads paragraphs with their automatic numbers, tables, notes, text boxes, captions, 글맵시 and 덧말, but not the hints
of empty form fields (누름틀).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lxml import etree

from infra.documents.draft import Cell, Draft, table_text
from infra.documents.numbering import Counters, Level, labelled, spelled

_HEADER: Final = re.compile(r"contents/header\.xml", re.IGNORECASE)
_SECTION: Final = re.compile(r"contents/section(\d+)\.xml", re.IGNORECASE)

_IN_TEXT: Final = {"tab": "\t", "lineBreak": "\n", "nbSpace": "\u00a0", "fwSpace": " ", "hyphen": "-"}
_NOTES: Final = frozenset({"footNote", "endNote"})
_COUNTED: Final = frozenset({"TABLE", "PICTURE", "EQUATION", "FIGURE"})
"""The kinds of things whose captions are numbered."""

_UNREAD: Final = frozenset(
    {"header", "footer", "hiddenComment", "secPr", "equation", "chart", "parameters", "linesegarray", "shapeComment"}
    | {"edit", "comboBox", "listBox", "checkBtn", "radioBtn", "btn", "scrollBar", "indexmark", "memogroup"}
)


class Owpml:
    """One document: its header defines the numbering of lists, its sections hold the text."""

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        """`parts` maps archive names to contents. Raises `lxml.etree.XMLSyntaxError`; `KeyError` without a header."""
        names = {match.group().lower(): name for name in parts if (match := _HEADER.fullmatch(name))}
        self._headings, self._lists = _header(_parsed(parts[names["contents/header.xml"]]))
        found = ((int(match[1]), name) for name in parts if (match := _SECTION.fullmatch(name)))
        self._sections = [parts[name] for _, name in sorted(found)]
        self._counters = Counters()
        self._outline = ""

    def add_to(self, draft: Draft) -> None:
        """Add all text in reading order."""
        self._draft = draft
        for section in self._sections:
            root = _parsed(section)
            shape = next((e for e in root.iter("{*}secPr")), None)
            self._outline = shape.get("outlineShapeIDRef") or "" if shape is not None else ""
            self._blocks(root)

    def _blocks(self, parent: Any) -> None:
        listed = False
        for paragraph in parent.iterchildren("{*}p"):
            listed = self._paragraph(paragraph, after_item=listed)

    def _paragraph(self, paragraph: Any, *, after_item: bool) -> bool:
        """Add a paragraph with what is anchored in it; returns whether it is a list item."""
        text, objects = _content(paragraph)
        kind, level = self._heading_of(paragraph)
        item = kind in ("NUMBER", "BULLET")
        text = self._numbered(paragraph, text)
        heading = level + 1 if kind == "OUTLINE" else None
        self._draft.add(text, level=heading, gap="\n" if item and after_item else "\n\n")
        for element in objects:
            self._object(element)
        return item

    def _object(self, element: Any) -> None:
        name = _name(element)
        if name == "tbl":
            self._table(element)
        elif name in _NOTES:
            for inside in element.iterchildren("{*}subList"):
                self._blocks(inside)
        elif name == "textart":
            self._draft.add(element.get("text") or "")
            self._captions(element)
        else:
            self._drawing(element)

    def _drawing(self, element: Any) -> None:
        """Add the text and captions of a shape, a picture or a group of them."""
        for child in element:
            name = _name(child)
            if name in ("drawText", "caption"):
                for inside in child.iterchildren("{*}subList"):
                    self._blocks(inside)
            elif child.tag is not etree.Comment and name not in _UNREAD:
                if name in ("tbl", "textart"):
                    self._object(child)
                else:
                    self._drawing(child)

    def _captions(self, element: Any) -> None:
        for caption in element.iterchildren("{*}caption"):
            for inside in caption.iterchildren("{*}subList"):
                self._blocks(inside)

    def _table(self, table: Any) -> None:
        before = self._draft.length
        self._captions(table)
        cells = list(_cells(table))
        # A frame around text, common in Korean forms, is not a table.
        if len(cells) == 1:
            for inside in cells[0].iterchildren("{*}subList"):
                self._blocks(inside)
        else:
            captioned = self._draft.length > before
            self._draft.add(table_text(self._cells(cells)), gap="\n" if captioned else "\n\n")

    def _cells(self, cells: list[Any]) -> Iterator[Cell]:
        for number, cell in enumerate(cells):
            address, span = cell.find("{*}cellAddr"), cell.find("{*}cellSpan")
            row = _whole(address, "rowAddr", 0)
            column = _whole(address, "colAddr", number)
            yield Cell(row, column, self._flat(cell), max(1, _whole(span, "rowSpan", 1)))

    def _flat(self, parent: Any) -> str:
        """All text of a cell on one line; the rows of a nested table are joined by ` / `."""
        pieces: list[str] = []
        for paragraph in parent.iterfind("{*}subList/{*}p"):
            text, objects = _content(paragraph)
            pieces.append(self._numbered(paragraph, text))
            for element in objects:
                pieces += self._flat_object(element)
        return " ".join(piece for piece in pieces if piece.strip())

    def _flat_object(self, element: Any) -> Iterator[str]:
        name = _name(element)
        if name == "textart":
            yield element.get("text") or ""
        if name == "tbl":
            for caption in element.iterchildren("{*}caption"):
                yield self._flat(caption)
            yield " / ".join(table_text(self._cells(list(_cells(element)))).split("\n"))
        elif name in _NOTES:
            yield self._flat(element)
        else:
            for child in element:
                inside = _name(child)
                if inside in ("drawText", "caption"):
                    yield self._flat(child)
                elif inside not in _UNREAD:
                    yield from self._flat_object(child)

    def _heading_of(self, paragraph: Any) -> tuple[str, int]:
        kind, _, level = self._headings.get(paragraph.get("paraPrIDRef") or "", ("NONE", "", 0))
        return kind, level

    def _numbered(self, paragraph: Any, text: str) -> str:
        """The text with its number; an empty paragraph is not counted."""
        if not text.strip():
            return ""
        kind, name, level = self._headings.get(paragraph.get("paraPrIDRef") or "", ("NONE", "", 0))
        if kind == "BULLET":
            return f"- {text.lstrip()}"
        if kind not in ("NUMBER", "OUTLINE"):
            return text
        # An outline that names no list is numbered as its section says.
        name = name if name in self._lists else self._outline
        levels = self._lists.get(name, ())
        label = self._counters.label(name, levels, level) if level < len(levels) else ""
        return labelled(label, text)


def _header(root: Any) -> tuple[dict[str, tuple[str, str, int]], dict[str, tuple[Level, ...]]]:
    """For each paragraph property, its heading type, list and level, from 0; for each list, its levels."""
    headings: dict[str, tuple[str, str, int]] = {}
    for properties in root.iter("{*}paraPr"):
        heading = next(properties.iter("{*}heading"), None)
        if heading is not None:
            kind = heading.get("type") or "NONE"
            headings[properties.get("id") or ""] = (kind, heading.get("idRef") or "", _whole(heading, "level", 0))
    lists: dict[str, tuple[Level, ...]] = {}
    for numbering in root.iter("{*}numbering"):
        levels = {_whole(head, "level", 1): head for head in numbering.iterchildren("{*}paraHead")}
        lists[numbering.get("id") or ""] = tuple(
            Level(
                format=levels[at].get("numFormat") or "DIGIT",
                text=levels[at].text or "",
                start=_whole(levels[at], "start", 1),
            )
            if at in levels
            else Level("none", "")
            for at in range(1, min(max(levels, default=0), 10) + 1)
        )
    return headings, lists


def _content(paragraph: Any) -> tuple[str, list[Any]]:
    """A paragraph's own text, and what is anchored in it: tables, shapes, notes."""
    pieces: list[str] = []
    objects: list[Any] = []
    fields: list[tuple[int, str] | None] = []
    deleted = 0
    for run in paragraph.iterchildren("{*}run"):
        stack = [(child, False) for child in reversed(run)]
        while stack:
            element, leaving = stack.pop()
            name = _name(element)
            if leaving:
                if element.tail and not deleted and _is_text(element.getparent()):
                    pieces.append(element.tail)
                continue
            if name == "t":
                if element.text and not deleted:
                    pieces.append(element.text)
                stack.extend((child, at) for child in reversed(element) for at in (True, False))
            elif name in _IN_TEXT:
                pieces.append("" if deleted else _IN_TEXT[name])
            elif name == "deleteBegin":
                deleted += 1
            elif name == "deleteEnd":
                deleted = max(0, deleted - 1)
            elif name == "ctrl":
                stack.extend((child, False) for child in reversed(element))
            elif name == "fieldBegin":
                fields.append(_hint(element, len(pieces)))
            elif name == "fieldEnd":
                _end_field(fields, pieces)
            elif name == "autoNum":
                pieces.append(_auto_number(element))
            elif name == "dutmal":
                pieces.append(_dutmal(element))
            elif name == "compose":
                pieces.append(element.get("composeText") or "")
            elif name and name not in _UNREAD:
                objects.append(element)
    return "".join(pieces), objects


def _is_text(element: Any) -> bool:
    return element is not None and _name(element) == "t"


def _hint(field: Any, begins: int) -> tuple[int, str] | None:
    """Where the content of a 누름틀 begins, and the hint that it shows while it is empty."""
    if field.get("type") != "CLICK_HERE":
        return None
    for parameter in field.iter("{*}stringParam"):
        if parameter.get("name") == "Direction":
            return begins, parameter.text or ""
    return None


def _end_field(fields: list[tuple[int, str] | None], pieces: list[str]) -> None:
    if fields and (field := fields.pop()) is not None:
        begins, hint = field
        if hint.strip() and "".join(pieces[begins:]).strip() == hint.strip():
            del pieces[begins:]


def _auto_number(element: Any) -> str:
    if element.get("numType") not in _COUNTED:
        return ""
    shape = element.find("{*}autoNumFormat")
    kind = shape.get("type") or "DIGIT" if shape is not None else "DIGIT"
    before, after = (shape.get(name) or "" if shape is not None else "" for name in ("prefixChar", "suffixChar"))
    return before + spelled(_whole(element, "num", 1), kind) + after


def _dutmal(element: Any) -> str:
    """덧말: words with explanatory words above or below them."""
    main, above = ("".join(element.itertext(f"{{*}}{name}")) for name in ("mainText", "subText"))
    return f"{main}({above})" if main and above else main or above


def _cells(table: Any) -> Iterator[Any]:
    for row in table.iterchildren("{*}tr"):
        yield from row.iterchildren("{*}tc")


def _name(element: Any) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _whole(element: Any, name: str, absent: int) -> int:
    value = element.get(name) if element is not None else None
    return int(value) if value and value.isascii() and value.isdecimal() and len(value) < 9 else absent


def _parsed(data: bytes) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_pis=True)
    return etree.fromstring(data, parser)
