"""Reads a part: parses each document, and leaves out refused and unchanged ones."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import NamedTemporaryFile
from typing import Final

from consumers.stages.aside import aside
from consumers.stages.context import StageJob
from consumers.stages.indexing.lines import part_document
from consumers.stages.indexing.tally import refuse, warn
from consumers.stages.lines import read_lines
from consumers.stages.ports import Ports
from consumers.stages.sources import LONG_CHARS, Content
from schemas.errors import DocumentRefused, NotFound
from schemas.kinds.indexing import MAX_DOCUMENT_CHARS, DocumentError, IndexingResult
from schemas.kinds.indexing.parts import PartDocument, PartInput
from schemas.retrieval import ParsedDocument, SubmittedText

MAX_FILE_BYTES: Final = 100_000_000
"""A larger file of a document is refused before it is read."""

TEXTS_AT_ONCE: Final = 64
CHARS_AT_ONCE: Final = 200_000
"""Submitted texts that are parsed together, at most, and their characters but for those of the last one."""

LOOKED_AT_ONCE: Final = 32
"""Documents that are compared with the catalogue in one statement."""


WAITING_CHARS: Final = 1_000_000
"""Characters that such documents hold in memory together, but for the last one."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A document to be indexed, with all of it as bytes, and their hash."""

    id: str
    content: Content
    serialised: bytes
    content_hash: str


async def changed_documents(
    job: StageJob[PartInput, None], ports: Ports, part: PartInput, result: IndexingResult, *, anew: bool = False
) -> AsyncGenerator[Changed]:
    """Each document to be indexed; `result` counts the others. `anew`: also those that have not changed."""
    async with AsyncExitStack() as held:
        if part.long:
            await held.enter_async_context(ports.long_documents.turn(job.requester))
        documents = [part_document(line, part) async for line in read_lines(ports.blobs, part.part)]
        async with aclosing(_compared(job, ports, part, result, documents, anew=anew)) as found:
            async for read in found:
                yield read


async def _compared(
    job: StageJob[PartInput, None],
    ports: Ports,
    part: PartInput,
    result: IndexingResult,
    documents: Sequence[PartDocument],
    *,
    anew: bool,
) -> AsyncGenerator[Changed]:
    known = await ports.catalogue.documents(job.tenant, part.collection, [document.id for document in documents])
    hashes = {name: document.content_hash for name, document in known.items() if not anew}
    waiting: list[Changed] = []
    position = 0
    async with aclosing(_contents(job, ports, documents)) as contents:
        async for document, content in contents:
            position += 1
            if isinstance(content, DocumentRefused):
                refuse(result, DocumentError(id=document.id, code=content.reason, message=content.message))
            else:
                warn(result, document.id, content.parsed.lost)
                long = len(content.parsed.text) > LONG_CHARS
                serialised, digest = await aside(content.serialised) if long else content.serialised()
                read = Changed(document.id, content, serialised, digest)
                if hashes.get(document.id) == digest:
                    waiting.append(read)
                else:
                    yield read
            chars = sum(len(read.content.parsed.text) for read in waiting)
            if len(waiting) == LOOKED_AT_ONCE or chars > WAITING_CHARS or position == len(documents):
                same = {read.id: read.content_hash for read in waiting}
                left = (
                    await ports.catalogue_writer.touch(job.tenant, part.collection, part.version, same)
                    if same
                    else set()
                )
                result.documents.unchanged += len(left)
                for read in waiting:
                    # Another job has changed it since it was looked up.
                    if read.id not in left:
                        yield read
                waiting = []
            await job.report(position, len(documents), "preparing documents")


async def _contents(
    job: StageJob[PartInput, None], ports: Ports, documents: Sequence[PartDocument]
) -> AsyncGenerator[tuple[PartDocument, Content | DocumentRefused]]:
    """Each document as it is indexed, or why it is refused, in order. A long one holds its turn until the next."""
    for group in _groups(documents):
        async with AsyncExitStack() as held:
            found = await _parsed(job, ports, group, held)
            if not any(isinstance(parsed, ParsedDocument) and len(parsed.text) > LONG_CHARS for parsed in found):
                await held.aclose()
            for document, parsed in zip(group, found, strict=True):
                yield document, _content(document, parsed)


def _content(document: PartDocument, parsed: ParsedDocument | DocumentRefused) -> Content | DocumentRefused:
    if isinstance(parsed, DocumentRefused):
        return parsed
    if any(isinstance(value, int) and abs(value) >= 2**63 for value in document.metadata.values()):
        why = "a number in `metadata` needs more than 64 bits; give it as a text"
        return DocumentRefused(why, code="metadata_invalid")
    if len(parsed.text) > MAX_DOCUMENT_CHARS:
        return _too_large(f"{len(parsed.text):,} characters of text, {MAX_DOCUMENT_CHARS:,} are allowed")
    return Content(document.title or parsed.title, document.metadata, parsed)


def _groups(documents: Sequence[PartDocument]) -> Iterator[list[PartDocument]]:
    """What is parsed together: a round trip to a process costs as much as a short text."""
    group: list[PartDocument] = []
    chars = 0
    for document in documents:
        if document.text is None:
            if group:
                yield group
            yield [document]
            group, chars = [], 0
            continue
        group.append(document)
        chars += len(document.text)
        if len(group) == TEXTS_AT_ONCE or chars >= CHARS_AT_ONCE:
            yield group
            group, chars = [], 0
    if group:
        yield group


async def _parsed(
    job: StageJob[PartInput, None], ports: Ports, group: Sequence[PartDocument], held: AsyncExitStack
) -> Sequence[ParsedDocument | DocumentRefused]:
    """`held` holds the turn of a file, which may turn out to be long."""
    texts = [SubmittedText(one.text, one.format, one.filename) for one in group if one.text is not None]
    if texts:
        return await ports.parser.parse_texts(texts, by=job.requester)
    (document,) = group
    try:
        async with _on_disk(ports, document) as path:
            await held.enter_async_context(ports.long_documents.turn(job.requester))
            given = {"format": document.format, "filename": document.filename}
            return [await ports.parser.parse_file(path, **given, by=job.requester)]
    except DocumentRefused as error:
        return [error]


@asynccontextmanager
async def _on_disk(ports: Ports, document: PartDocument) -> AsyncIterator[Path]:
    with NamedTemporaryFile(suffix=PurePath(document.filename or "").suffix[:20]) as file:
        size = 0
        try:
            async for piece in ports.blobs.stream(document.blob or ""):
                size += len(piece)
                if size > MAX_FILE_BYTES:
                    raise _too_large(f"its file is larger than {MAX_FILE_BYTES:,} bytes")
                await asyncio.to_thread(file.write, piece)
        except NotFound as error:
            raise DocumentRefused(
                "its file was deleted before it was indexed; upload it again", code="file_not_found"
            ) from error
        file.flush()
        yield Path(file.name)


def _too_large(what: str) -> DocumentRefused:
    return DocumentRefused(f"the document is too large: {what}; split it", code="document_too_large")
