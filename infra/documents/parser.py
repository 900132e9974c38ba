"""The document parser of a worker: isolated processes read files and submitted texts (decision 0034)."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from infra.documents.detection import text_format
from infra.documents.refusals import refused
from infra.isolation.forks import ForkServer
from infra.isolation.frames import joined, separated
from infra.isolation.limits import STANDS_BACK, WALL, Limits
from infra.isolation.pool import Broke, IsolatedPool, IsolationError, TookTooLong, TookTooMuch
from infra.settings import ParserSettings
from schemas.errors import DocumentRefused
from schemas.kinds.indexing import MAX_DOCUMENT_CHARS
from schemas.requester import Requester
from schemas.retrieval import Heading, ParsedDocument, SubmittedText
from schemas.topics import Lane

MAX_FILE_BYTES: Final = 100_000_000
REQUESTS: Final = 200
"""A process is replaced after this many requests, because parsers leak memory."""

MODULE: Final = "infra.documents.service"


class IsolatedDocumentParser:
    """Reads text, Markdown, HTML, PDF, DOCX, HWP and HWPX. Use and close it in one event loop."""

    def __init__(self, settings: ParserSettings) -> None:
        self._seconds = settings.timeout.total_seconds()
        # In UTF-8 a character takes 4 bytes at most, in JSON's escapes 6; headings and titles add little.
        limits = Limits(
            memory=settings.memory_bytes,
            cpu=self._seconds,
            wall=WALL * self._seconds,
            answer=6 * MAX_DOCUMENT_CHARS + 16 * 1024**2,
            requests=REQUESTS,
            nice=STANDS_BACK,
        )
        self._server = ForkServer(MODULE)
        # Each lane has its own pool, so that interactive work never waits behind a bulk corpus.
        self._pools = {
            lane: IsolatedPool(self._server, f"parse-{lane}", processes=settings.processes, limits=limits)
            for lane in Lane
        }

    async def parse_file(
        self, path: Path, *, format: str | None, filename: str | None, by: Requester
    ) -> ParsedDocument:
        """The document of a file. Content decides the format; `format` and `filename` only tell text formats apart.

        Raises `DocumentRefused` with one of the codes in `infra.documents.refusals`, `DependencyUnavailable` after
        `close`.
        """
        located, size = await asyncio.to_thread(_located, path)
        if size > MAX_FILE_BYTES:
            raise refused("document_too_large", f"its file has {size:,} bytes, {MAX_FILE_BYTES:,} are allowed")
        (document,) = await self._ask("file", {"path": located, "format": format, "filename": filename}, b"", by)
        if isinstance(document, DocumentRefused):
            raise document
        return document

    async def parse_texts(
        self, texts: Sequence[SubmittedText], *, by: Requester
    ) -> list[ParsedDocument | DocumentRefused]:
        """For each submitted text its document or its refusal. Raises `DependencyUnavailable` after `close`.

        They share a process. If that process dies or exceeds a limit, each text is read again by itself to find the
        culprit.
        """
        formats = [_format(one) for one in texts]
        readable = [at for at, kind in enumerate(formats) if isinstance(kind, str)]
        made = dict(zip(readable, await self._read(texts, formats, readable, by), strict=True)) if readable else {}
        return [kind if isinstance(kind, DocumentRefused) else made[at] for at, kind in enumerate(formats)]

    async def close(self) -> None:
        """Kill the processes."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
        await self._server.close()

    async def _read(
        self,
        texts: Sequence[SubmittedText],
        formats: Sequence[str | DocumentRefused],
        chosen: Sequence[int],
        by: Requester,
    ) -> list[ParsedDocument | DocumentRefused]:
        sizes, payload = joined([texts[at].text for at in chosen])
        try:
            return await self._ask("texts", {"sizes": sizes, "formats": [formats[at] for at in chosen]}, payload, by)
        except DocumentRefused as error:
            if len(chosen) == 1:
                return [error]
        return [(await self._read(texts, formats, [at], by))[0] for at in chosen]

    async def _ask(
        self, task: str, request: dict[str, Any], payload: bytes, by: Requester
    ) -> list[ParsedDocument | DocumentRefused]:
        try:
            answer, made = await self._pools[by.lane].ask(task, request, payload, owner=by.tenant, rank=by.rank)
        except IsolationError as error:
            raise self._refused(error) from error
        return [
            _document(told, text)
            for told, text in zip(answer["documents"], separated(answer["sizes"], made), strict=True)
        ]

    def _refused(self, error: IsolationError) -> DocumentRefused:
        match error:
            case TookTooLong():
                return refused("document_timeout", f"it takes longer than {self._seconds:g} s to read")
            case TookTooMuch():
                return refused("document_too_large", str(error))
            case Broke():
                return refused("document_damaged", str(error))
        raise error


def _format(given: SubmittedText) -> str | DocumentRefused:
    try:
        return text_format(given.format, given.filename)
    except DocumentRefused as error:
        return error


def _document(told: dict[str, Any], text: str) -> ParsedDocument | DocumentRefused:
    if "code" in told:
        return DocumentRefused(told["message"], code=told["code"])
    headings = [Heading(start, level, words) for start, level, words in told["headings"]]
    return ParsedDocument(text, told["title"], headings, told["pages"], told["lost"])


def _located(file: Path) -> tuple[str, int]:
    return os.path.abspath(file), file.stat().st_size
