"""The document parser of a worker: submitted texts here, files in processes of their own."""

import asyncio
import os
from pathlib import Path
from typing import Final

from infra.documents.detection import text_format
from infra.documents.processes import ParserProcesses
from infra.documents.refusals import refused
from infra.documents.text import read_text
from infra.settings import ParserSettings
from schemas.errors import DocumentRefused
from schemas.kinds.indexing import MAX_DOCUMENT_CHARS
from schemas.retrieval import Heading, ParsedDocument

MAX_FILE_BYTES: Final = 100_000_000
_SHORT: Final = 20_000
"""Characters of plain text that are cleaned faster than a thread starts."""


class ProcessDocumentParser:
    """Text, Markdown, HTML, PDF, DOCX, HWP and HWPX. Of one event loop; `close` it there."""

    def __init__(self, settings: ParserSettings) -> None:
        self._processes = ParserProcesses(settings, max_chars=MAX_DOCUMENT_CHARS)

    async def parse(self, source: Path | str, *, format: str | None, filename: str | None) -> ParsedDocument:
        """The document of a file, or of a submitted text (text, Markdown or HTML).

        A file's content decides its format; `format` and `filename` only tell the kinds of text apart. Raises
        `DocumentRefused` with one of the codes in `infra.documents.refusals`, `DependencyUnavailable` after `close`.
        """
        if isinstance(source, str):
            kind = text_format(format, filename)
            if kind == "text" and len(source) <= _SHORT:
                return read_text(source, kind, MAX_DOCUMENT_CHARS)
            return await asyncio.to_thread(read_text, source, kind, MAX_DOCUMENT_CHARS)
        path, size = await asyncio.to_thread(_located, source)
        if size > MAX_FILE_BYTES:
            raise refused("document_too_large", f"its file has {size:,} bytes, {MAX_FILE_BYTES:,} are allowed")
        request = {"path": path, "format": format, "filename": filename}
        answer = await self._processes.ask(request)
        if "code" in answer:
            raise DocumentRefused(answer["message"], code=answer["code"])
        headings = [Heading(start, level, text) for start, level, text in answer["headings"]]
        return ParsedDocument(answer["text"], answer["title"], headings, answer["pages"])

    async def close(self) -> None:
        """Kill the processes."""
        await self._processes.close()


def _located(file: Path) -> tuple[str, int]:
    return os.path.abspath(file), file.stat().st_size
