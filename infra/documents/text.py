"""Reads plain text, Markdown and HTML, which need no file."""

import re
from typing import Final

from markdown_it import MarkdownIt

from infra.documents.draft import Draft, clean
from infra.documents.html import read_html
from infra.documents.refusals import refused
from schemas.retrieval import ParsedDocument

_FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*(?:\n|\Z)", re.DOTALL)


def read_text(text: str, format: str, max_chars: int) -> ParsedDocument:
    """The document of a text in `format` (`text`, `markdown`, `html`).

    Its text is in Unicode form NFC with `\\n` line breaks and no control characters. Blocking and CPU-bound. Raises
    `DocumentRefused`: `document_empty`, `document_too_large`, `document_too_deep`, `document_format_unknown`.
    """
    draft = Draft(max_chars)
    title: str | None = None
    match format:
        case "text":
            draft.add(text)
        case "markdown":
            source = _FRONT_MATTER.sub("", clean(text))
            read_html(MarkdownIt("commonmark").enable("table").render(source), draft)
        case "html":
            title = read_html(clean(text), draft)
        case _:
            raise refused("document_format_unknown", f"a text is no {format!r}: upload the file")
    return draft.finished(title)
