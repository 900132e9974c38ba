"""What a parser process does: turns files and submitted texts into documents."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from infra.documents.files import read_file
from infra.documents.text import read_text
from infra.isolation.child import Task
from infra.isolation.frames import Frame, joined, separated
from schemas.errors import DocumentRefused
from schemas.kinds.indexing import MAX_DOCUMENT_CHARS
from schemas.retrieval import ParsedDocument


def tasks() -> Mapping[str, Task]:
    """Tasks by name: `file` reads a path into a document, `texts` reads each text into a document or a refusal."""
    return {"file": _file, "texts": _texts}


def _file(request: dict[str, Any], _: bytes) -> Frame:
    named = {"format": request["format"], "filename": request["filename"]}
    return _answer([partial(read_file, Path(request["path"]), **named, max_chars=MAX_DOCUMENT_CHARS)])


def _texts(request: dict[str, Any], payload: bytes) -> Frame:
    given = zip(separated(request["sizes"], payload), request["formats"], strict=True)
    return _answer([partial(read_text, text, kind, MAX_DOCUMENT_CHARS) for text, kind in given])


def _answer(readings: list[Callable[[], ParsedDocument]]) -> Frame:
    told: list[dict[str, Any]] = []
    texts: list[str] = []
    for read in readings:
        try:
            document = read()
        except DocumentRefused as error:
            told.append({"code": error.reason, "message": error.message})
            texts.append("")
        else:
            headings = [[heading.start, heading.level, heading.text] for heading in document.headings]
            told.append(
                {
                    "title": document.title,
                    "headings": headings,
                    "pages": list(document.pages),
                    "lost": list(document.lost),
                }
            )
            texts.append(document.text)
    sizes, payload = joined(texts)
    return {"documents": told, "sizes": sizes}, payload
