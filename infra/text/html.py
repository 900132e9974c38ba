"""From an HTML page to text that reads well: block elements become lines, navigation and scripts go."""

import re
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from schemas.errors import DocumentRefused

MAX_DEPTH: Final = 20_000
"""Elements open at once. The parser's time grows with the square of it (50,000: 3 s); real pages stay below 100."""

_DROP: Final = frozenset(
    [
        "head",
        "script",
        "style",
        "noscript",
        "template",
        "nav",
        "footer",
        "iframe",
        "object",
        "svg",
        "math",
        "canvas",
        "audio",
        "video",
        "form",
        "button",
        "select",
        "textarea",
        "dialog",
    ]
)
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
    ]
)
_LINE: Final = frozenset(
    ["div", "li", "tr", "dt", "dd", "br", "caption", "figcaption", "details", "summary", "thead", "tbody", "tfoot"]
)
_CELL: Final = frozenset({"td", "th"})
_LEAVE: Final = object()

_TAG: Final = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,40})")
_IMPLIED_END: Final = frozenset(
    {"p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "area", "base", "br", "col", "embed"}
    | {"hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)

# Marks for breaks between blocks: control characters, which no parsed page holds, so that they can be told from text.
_LINE_MARK: Final = "\x01"
_PARAGRAPH_MARK: Final = "\x02"
_CELL_MARK: Final = "\x03"

# Both begin only where a run of blanks begins and never give back: a page of blanks costs one pass, not n squared.
_BREAK: Final = re.compile(r"(?<![\s\x03])[\s\x03]*+[\x01\x02][\s\x01-\x03]*+")
_NEXT_CELL: Final = re.compile(r"(?<!\s)\s*+\x03[\s\x03]*+")


def html_to_text(html: str) -> tuple[str, str | None, str | None]:
    """The page's text, its `<title>` and its first heading (None where it has none). Entities are decoded.

    Blocks are separated by a blank line, lines and table rows by a line break, table cells by ` | `. Raises
    `DocumentRefused` (`document_too_deep`).
    """
    if _depth(html) > MAX_DEPTH:
        raise DocumentRefused(
            f"the page nests more than {MAX_DEPTH:,} elements; check what made it", code="document_too_deep"
        )
    tree = LexborHTMLParser(html)
    title = tree.css_first("head > title")
    heading = tree.css_first("h1") or tree.css_first("h2, h3, h4, h5, h6")
    pieces: list[str] = []
    if tree.body is not None:
        _collect(tree.body, pieces)
    text = _BREAK.sub(lambda run: "\n\n" if _PARAGRAPH_MARK in run.group() else "\n", "".join(pieces))
    text = _NEXT_CELL.sub(" | ", text)
    # A list item or cell that holds a paragraph would leave its mark alone on a line.
    return re.sub(r"^- \n+", "- ", text, flags=re.MULTILINE).strip(), _line(title), _line(heading)


def _line(node: LexborNode | None) -> str | None:
    return (" ".join(node.text().split()) or None) if node is not None else None


def _depth(html: str) -> int:
    """About how many elements are open at once at most, tags with an implied end not counted."""
    depth = deepest = 0
    for tag in _TAG.finditer(html):
        if tag[2].lower() not in _IMPLIED_END:
            depth = max(0, depth - 1) if tag[1] else depth + 1
            deepest = max(deepest, depth)
    return deepest


def _collect(root: LexborNode, pieces: list[str]) -> None:
    """Walk with a stack of its own: a page may be nested deeper than Python recurses."""
    stack: list[tuple[LexborNode, object]] = [(root, None)]
    preformatted = 0
    while stack:
        node, leaving = stack.pop()
        tag = node.tag or ""
        if leaving is _LEAVE:
            preformatted -= tag == "pre"
            pieces.append(_after(tag))
        elif node.is_text_node:
            text = node.text_content or ""
            pieces.append(text if preformatted else re.sub(r"\s+", " ", text))
        elif node.is_element_node and not _is_noise(node, tag):
            preformatted += tag == "pre"
            pieces.append(_before(tag))
            stack.append((node, _LEAVE))
            stack.extend((child, None) for child in reversed(list(node.iter(include_text=True))))


def _is_noise(node: LexborNode, tag: str) -> bool:
    if tag in _DROP:
        return True
    attributes = node.attributes
    return "hidden" in attributes or attributes.get("aria-hidden") == "true" or attributes.get("role") == "navigation"


def _before(tag: str) -> str:
    if tag in _PARAGRAPH:
        return _PARAGRAPH_MARK
    if tag == "li":
        return f"{_LINE_MARK}- "
    return _LINE_MARK if tag in _LINE else ""


def _after(tag: str) -> str:
    if tag in _PARAGRAPH:
        return _PARAGRAPH_MARK
    if tag in _CELL:
        return _CELL_MARK
    return _LINE_MARK if tag in _LINE else ""
