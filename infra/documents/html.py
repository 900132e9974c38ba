"""Turns an HTML page into readable text: block elements become lines, navigation and scripts are dropped."""

import re
from collections import Counter
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from infra.documents.draft import REPEATED_CHARS, Draft, clean
from infra.documents.numbering import spelled
from infra.documents.refusals import refused

MAX_DEPTH: Final = 2_000
"""Elements open at once: parsing time grows with all elements times the open ones. Real pages stay below 100."""

MAX_ATTRIBUTES: Final = 256
"""Attributes of one element: the parser compares each with all before it (30,000 take 13 s)."""

_DROP: Final = frozenset(
    {"head", "script", "style", "template", "iframe", "object", "svg", "math", "canvas", "audio", "video"}
    | {"select", "datalist"}
)
_FURNITURE: Final = frozenset({"nav", "footer"})
"""Elements for navigating the site. They are kept only when the page holds nothing else."""

_OWN_FOOTER: Final = frozenset(["article", "section", "aside", "blockquote", "main", "figure", "td"])
"""A footer inside one of these belongs to the text; any other belongs to the page (HTML standard, 4.3.8)."""

_NAMED_BY_BUTTON: Final = frozenset(["h1", "h2", "h3", "h4", "h5", "h6", "dt", "summary"])
"""A button inside one of these unfolds a section and is its heading (WAI-ARIA, accordion pattern)."""

_PARAGRAPH: Final = frozenset(
    [
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "dl",
        "table",
        "pre",
        "blockquote",
        "article",
        "section",
        "main",
        "header",
        "aside",
        "figure",
        "hr",
        "address",
        "textarea",
        "form",
        "fieldset",
        "footer",
        "nav",
        "noscript",
        "dialog",
    ]
)
_LINE: Final = frozenset(
    [
        "div",
        "li",
        "tr",
        "dt",
        "dd",
        "br",
        "caption",
        "figcaption",
        "legend",
        "details",
        "summary",
        "thead",
        "tbody",
        "tfoot",
    ]
)
_CELL: Final = frozenset({"td", "th"})
_HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_LISTS: Final = frozenset({"ol", "ul", "menu"})
_MAX_SPANS: Final = 50
"""How many cells may span rows at once: a small page must not become a large text."""

_LEAVE: Final = object()

_TAG: Final = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,40})")
# Quoted values may hold `>`. Possessive, so that each opened tag has a constant cost.
_ATTRIBUTE: Final = r"""[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'>][^\s>]*+))?+"""
_CROWDED: Final = re.compile(rf"<[a-zA-Z][^\s/>]*+(?:{_ATTRIBUTE}){{{MAX_ATTRIBUTES + 1}}}")
_IMPLIED_END: Final = frozenset(
    {"p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "area", "base", "br", "col", "embed"}
    | {"hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)

# Marks for the breaks between blocks. No parsed page holds these control characters, so they cannot be text.
_LINE_MARK: Final = "\x01"
_PARAGRAPH_MARK: Final = "\x02"
_CELL_MARK: Final = "\x03"
_HEADING_MARK: Final = "\x04"
_HEADING_END: Final = "\x05"
_MARKS: Final = " \t\n-\x01\x02\x03\x04\x05"
_HEADING: Final = re.compile("(\x04[1-6][^\x04\x05]*\x05)")

_BLANKS: Final = re.compile(r"\s+")
# Both match only at the start of a run of blanks and never backtrack: a page of blanks costs n, not n squared.
_BREAK: Final = re.compile(r"(?<![\s\x03])[\s\x03]*+[\x01\x02][\s\x01-\x03]*+")
_NEXT_CELL: Final = re.compile(r"(?<!\s)\s*+\x03[\s\x03]*+")


def read_html(html: str, draft: Draft) -> str | None:
    """Add the page's text and headings to `draft`, entities decoded; returns the page's `<title>`.

    Blank lines separate blocks, line breaks separate lines and table rows, and ` | ` separates table cells. A cell that
    spans rows appears in each of them. Raises `DocumentRefused` (`document_too_deep`, `document_too_large`).
    """
    if _depth(html) > MAX_DEPTH:
        raise refused("document_too_deep", f"the page nests more than {MAX_DEPTH:,} elements")
    if _CROWDED.search(html):
        raise refused("document_too_deep", f"an element of the page has more than {MAX_ATTRIBUTES} attributes")
    tree = LexborHTMLParser(html)
    title = tree.css_first("head > title")
    pieces: list[str] = []
    if tree.body is not None:
        _collect(tree.body, pieces)
        if not any(piece.strip(_MARKS) for piece in pieces):
            pieces.clear()
            _collect(tree.body, pieces, furniture=True)
    text = _BREAK.sub(lambda run: "\n\n" if _PARAGRAPH_MARK in run.group() else "\n", "".join(pieces))
    text = _NEXT_CELL.sub(" | ", text)
    _add(text, draft)
    return title.text() if title is not None else None


def _add(text: str, draft: Draft) -> None:
    """Add one block, cleaned piece by piece so that the offsets of its headings are known."""
    pieces: list[str] = []
    headings: list[tuple[int, int, str]] = []
    length = 0
    for piece in _HEADING.split(text.strip()):
        level = int(piece[1]) if piece[:1] == _HEADING_MARK else None
        words = clean(piece[2:-1]).strip() if level else clean(piece)
        if level:
            headings.append((length, level, words))
        pieces.append(words)
        length += len(words)
    whole = "".join(pieces)
    start = draft.add(whole) - (len(whole) - len(whole.lstrip()))
    for offset, level, words in headings:
        draft.mark(start + offset, level, words)


def _depth(html: str) -> int:
    """Roughly the most elements that are open at once; tags with an implied end are not counted.

    An end tag closes only an element of its own name: `<i></b>` leaves the `i` open.
    """
    opened: Counter[str] = Counter()
    depth = deepest = 0
    for tag in _TAG.finditer(html):
        name = tag[2].lower()
        if name in _IMPLIED_END:
            continue
        if not tag[1]:
            opened[name] += 1
            depth += 1
            deepest = max(deepest, depth)
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
    return deepest


_TYPES: Final = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}


class _List:
    """An `ol` or `ul`, and the number of its next item; None for a list without numbers."""

    def __init__(self, node: LexborNode, tag: str) -> None:
        self._format = _TYPES.get(node.attributes.get("type") or "", "decimal")
        self._step = 1
        self._next: int | None = None
        if tag == "ol":
            self._step = -1 if "reversed" in node.attributes else 1
            items = sum(child.tag == "li" for child in node.iter()) if self._step < 0 else 1
            self._next = _signed(node, "start", items)

    def item(self, node: LexborNode) -> str:
        if self._next is None:
            return "- "
        number = _signed(node, "value", self._next)
        self._next = number + self._step
        return f"{spelled(number, self._format)}. "


def _signed(node: LexborNode, name: str, absent: int) -> int:
    value = (node.attributes.get(name) or "").strip()
    return int(value) if re.fullmatch(r"-?[0-9]{1,9}", value) else absent


class _Table:
    """The position in a table, and the cells above that span the current row: column -> (rows left, text, columns)."""

    def __init__(self) -> None:
        self.column = 0
        self.spans: dict[int, tuple[int, str, int]] = {}

    def enter(self, pieces: list[str], *, row_ends: bool = False) -> None:
        """Repeat the spanning cells in the columns before the next cell, or before the end of the row."""
        while self.column in self.spans or (row_ends and any(column > self.column for column in self.spans)):
            column = min(column for column in self.spans if column >= self.column)
            left, text, width = self.spans.pop(column)
            pieces += [text, _CELL_MARK]
            self.column = column + width
            if left > 1:
                self.spans[column] = (left - 1, text, width)

    def leave(self, node: LexborNode, pieces: list[str], first: int) -> None:
        """Remember a cell that spans the rows below; its text is `pieces[first:]`."""
        rows, width = _number(node, "rowspan"), _number(node, "colspan")
        # Join no more than may be repeated: in nested tables, each cell holds everything inside it.
        if rows > 1 and len(pieces) - first <= REPEATED_CHARS and len(self.spans) < _MAX_SPANS:
            text = "".join(pieces[first:])
            if len(text) <= REPEATED_CHARS:
                self.spans[self.column] = (rows - 1, " ".join(re.sub("[\x01-\x05]", " ", text).split()), width)
        self.column += width


def _number(node: LexborNode, name: str) -> int:
    value = node.attributes.get(name) or ""
    return max(1, min(int(value), 1000)) if value.isascii() and value.isdecimal() else 1


def _collect(root: LexborNode, pieces: list[str], *, furniture: bool = False) -> None:
    """Walk the page with an explicit stack, because it may be nested deeper than Python can recurse."""
    stack: list[tuple[LexborNode, object]] = [(root, None)]
    tables: list[_Table] = []
    lists: list[_List] = []
    cells: list[int] = []
    begun = False
    around: Counter[str] = Counter()
    while stack:
        node, leaving = stack.pop()
        tag = node.tag or ""
        if leaving is _LEAVE:
            around[tag] -= 1
            if tag == "table":
                tables.pop()
            elif tag in _LISTS:
                lists.pop()
            elif tag == "tr" and tables:
                tables[-1].enter(pieces, row_ends=True)
            elif tag in _CELL and tables:
                tables[-1].leave(node, pieces, cells.pop())
            if mark := _after(tag):
                pieces.append(mark)
                begun = False
        elif node.is_text_node:
            text = node.text_content or ""
            kept = around["pre"] or around["textarea"]
            if text and not (begun and text.isspace()):
                pieces.append(text if kept else _BLANKS.sub(" ", text))
                begun = False
        elif node.is_element_node and not _is_noise(node, tag, around, furniture=furniture):
            around[tag] += 1
            # A paragraph or heading at the start of an item follows the item's mark on the same line.
            mark = _before(tag)
            if begun and tag not in _LISTS and tag != "li":
                mark = mark.lstrip(_PARAGRAPH_MARK + _LINE_MARK)
            if mark:
                pieces.append(mark)
            if tag == "table":
                tables.append(_Table())
            elif tag in _LISTS:
                lists.append(_List(node, tag))
            elif tag == "li":
                pieces.append(lists[-1].item(node) if lists else "- ")
                begun = True
            elif tag == "tr" and tables:
                tables[-1].column = 0
            elif tag in _CELL and tables:
                tables[-1].enter(pieces)
                cells.append(len(pieces))
            stack.append((node, _LEAVE))
            stack.extend((child, None) for child in reversed(list(node.iter(include_text=True))))


def _is_noise(node: LexborNode, tag: str, around: Counter[str], *, furniture: bool) -> bool:
    if tag == "button":
        return not any(around[name] for name in _NAMED_BY_BUTTON)
    if tag in _DROP:
        return True
    attributes = node.attributes
    if tag == "dialog" and "open" not in attributes:
        return True
    if "hidden" in attributes and (attributes["hidden"] or "").lower() != "until-found":
        return True
    if attributes.get("aria-hidden") == "true":
        return True
    if furniture:
        return False
    own = tag == "footer" and any(around[name] for name in _OWN_FOOTER)
    return (tag in _FURNITURE and not own) or attributes.get("role") == "navigation"


def _before(tag: str) -> str:
    if tag in _HEADINGS:
        return f"{_PARAGRAPH_MARK}{_HEADING_MARK}{tag[1]}"
    if tag in _PARAGRAPH:
        return _PARAGRAPH_MARK
    return _LINE_MARK if tag in _LINE else ""


def _after(tag: str) -> str:
    if tag in _HEADINGS:
        return _HEADING_END + _PARAGRAPH_MARK
    if tag in _PARAGRAPH:
        return _PARAGRAPH_MARK
    if tag in _CELL:
        return _CELL_MARK
    return _LINE_MARK if tag in _LINE else ""
