"""The first step of indexing a document: from a submitted text or an uploaded file to plain text and a title."""

import re
from pathlib import PurePosixPath
from typing import Final
from unicodedata import normalize

from markdown_it import MarkdownIt

from infra.text.encodings import decode, looks_binary
from infra.text.html import html_to_text
from schemas.errors import DocumentRefused
from schemas.retrieval import ParsedDocument

FORMATS: Final = {
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
"""The format a file name's ending stands for."""

MAX_TITLE_CHARS: Final = 500

_LINE_BREAK: Final = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufeff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*(?:\n|\Z)", re.DOTALL)


class TextParser:
    """Plain text, Markdown and HTML, as text or as bytes in UTF-8, UTF-16, CP949 (EUC-KR) and a few others."""

    def parse(self, data: bytes | str, *, format: str | None, filename: str | None) -> ParsedDocument:
        """Text in Unicode form NFC with `\\n` line breaks and no control characters, and the document's title.

        The title is a page's `<title>` or first heading, or Markdown's first heading. Blocking and CPU-bound. Raises
        `DocumentRefused`: `document_empty`, `document_undecodable`, `document_format_unknown`, `document_too_deep`.
        """
        kind = format or _format_of(filename)
        if isinstance(data, bytes):
            if looks_binary(data):
                raise _unknown_format("its content is not text")
            data = decode(data, html=kind == "html")
        text = clean(data)
        title: str | None = None
        if kind == "markdown":
            rendered = MarkdownIt("commonmark").enable("table").render(_FRONT_MATTER.sub("", text))
            text, _, title = html_to_text(rendered)
        elif kind == "html":
            text, page_title, heading = html_to_text(text)
            title = page_title or heading
        elif kind != "text":
            raise _unknown_format(f"its format {kind!r} is not known")
        # Decoded character references may bring back what `clean` had removed.
        text = clean(text).strip()
        if not text:
            raise DocumentRefused(
                "there is no text in the document; give it some, or leave it out", code="document_empty"
            )
        return ParsedDocument(text, clean(title)[:MAX_TITLE_CHARS].strip() or None if title else None)


def clean(text: str) -> str:
    """NFC, one kind of line break, no control characters; a lone surrogate becomes U+FFFD."""
    text = _INVISIBLE.sub("", _LINE_BREAK.sub("\n", text))
    return normalize("NFC", _SURROGATE.sub("\ufffd", text))


def _format_of(filename: str | None) -> str:
    suffix = PurePosixPath(filename or "").suffix.lower()
    if suffix and suffix not in FORMATS:
        raise _unknown_format(f"a file ending in {suffix!r} is of no known format")
    return FORMATS.get(suffix, "text")


def _unknown_format(why: str) -> DocumentRefused:
    return DocumentRefused(
        f"{why}. Documents are plain text, Markdown or HTML: convert it, or name its `format` if the name misleads",
        code="document_format_unknown",
    )
