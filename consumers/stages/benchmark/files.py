"""The files of a benchmark's tasks, read item by item: JSON Lines, or plain text in documents."""

import asyncio
import codecs
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from pydantic import ValidationError

from consumers.stages.ports import Blobs
from schemas.catalogue import StoredFile
from schemas.errors import InvalidInput
from schemas.kinds.benchmark import FileTask, PerplexityTask
from schemas.kinds.benchmark.items import MAX_LINE_BYTES, ChoiceItem, TextItem

DOCUMENT_CHARS: Final = 20_000
"""Plain text is cut into documents of up to so many characters, at the ends of its lines."""
TURN: Final = 200
"""Lines read before other jobs of the process have a turn."""
LINES: Final = (".jsonl", ".ndjson")

Item = TextItem | ChoiceItem


class Unreadable(Exception):
    """A line that is no item; the message says why."""


async def items(blobs: Blobs, file: StoredFile, task: FileTask) -> AsyncGenerator[tuple[int, Item | Unreadable]]:
    """The items with their places from 1: of the line, or of the document. Raises `InvalidInput`, `NotFound`."""
    if isinstance(task, PerplexityTask) and not file.filename.lower().endswith(LINES):
        place = 0
        async for text in _documents(_decoded(blobs, file.blob, task.name)):
            place += 1
            yield place, TextItem(text=text)
        return
    form = TextItem if isinstance(task, PerplexityTask) else ChoiceItem
    async for place, line in _lines(blobs, file.blob):
        yield place, _read(form, line)
        if place % TURN == 0:
            await asyncio.sleep(0)


def _read(form: type[TextItem] | type[ChoiceItem], line: bytes) -> Item | Unreadable:
    if len(line) > MAX_LINE_BYTES:
        return Unreadable(f"it is longer than {MAX_LINE_BYTES:,} bytes")
    try:
        return form.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return Unreadable(f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}")


async def _lines(blobs: Blobs, key: str) -> AsyncIterator[tuple[int, bytes]]:
    """The lines that are not blank. One that is too long comes cut, but still too long."""
    number, rest = 1, b""
    async for piece in blobs.stream(key):
        *whole, tail = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            number += 1
        rest = tail[: MAX_LINE_BYTES + 1]
    if rest.strip():
        yield number, rest.removeprefix(codecs.BOM_UTF8) if number == 1 else rest


async def _decoded(blobs: Blobs, key: str, task: str) -> AsyncIterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        async for piece in blobs.stream(key):
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        why = f"the text of the task {task!r} is not UTF-8: save it again"
        raise InvalidInput(why, code="dataset_undecodable", field="input.tasks") from error


async def _documents(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """The text in documents; those of white space alone are left out."""
    rest = ""
    async for piece in pieces:
        rest += piece
        while len(rest) > DOCUMENT_CHARS:
            end = rest.rfind("\n", 0, DOCUMENT_CHARS) + 1 or DOCUMENT_CHARS
            if (document := rest[:end]).strip():
                yield document
            rest = rest[end:]
    if rest.strip():
        yield rest
