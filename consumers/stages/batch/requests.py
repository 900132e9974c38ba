"""The lines of a batch's input file, as jobs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from consumers.stages.ports import Blobs
from schemas.batches.lines import MAX_BYTES, MAX_LINE_BYTES, MAX_LINES, LineInvalid, LineJob, read_line
from schemas.errors import BatchInvalid, InvalidInput, LineError
from schemas.models import Models

SHOWN: Final = 100
"""Errors of one file that are listed."""
TURN: Final = 200
"""Lines read before other jobs of the process have a turn."""
BLANKS: Final = 10_000
"""The same for blank lines, of which a file may hold two hundred million."""


async def lines(blobs: Blobs, key: str) -> AsyncIterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1. Raises `NotFound`.

    A line that is too long comes cut, but still too long, so that it is never whole in memory.
    """
    number, rest = 1, b""
    async for piece in blobs.stream(key):
        *whole, tail = (rest + piece).split(b"\n")
        for line in whole:
            if line and line.strip():
                yield number, line
            number += 1
            if number % BLANKS == 0:
                await asyncio.sleep(0)
        rest = tail[: MAX_LINE_BYTES + 1]
    if rest.strip():
        yield number, rest


async def jobs(blobs: Blobs, key: str, endpoint: str, models: Models) -> AsyncIterator[LineJob]:
    """The jobs of the lines of a file that was checked. Raises `InvalidInput`."""
    count = 0
    async for _, line in lines(blobs, key):
        yield read_line(_without_mark(line) if count == 0 else line, endpoint, models)
        count += 1
        if count % TURN == 0:
            await asyncio.sleep(0)


async def checked(blobs: Blobs, key: str, size: int, endpoint: str, models: Models) -> int:
    """How many lines the file has, each of them a request with an id of its own. Raises `BatchInvalid`."""
    if size > MAX_BYTES:
        why = f"the file has {size:,} bytes, {MAX_BYTES:,} are allowed: split it"
        raise BatchInvalid(why, [LineError(1, "file_too_large", why, None)])
    found: list[LineError] = []
    wrong = count = 0
    seen: dict[str, int] = {}
    async for number, line in lines(blobs, key):
        count += 1
        if count > MAX_LINES:
            why = f"the file has more than {MAX_LINES:,} lines: split it"
            raise BatchInvalid(why, [LineError(number, "too_many_lines", why, None)])
        try:
            job = read_line(_without_mark(line) if count == 1 else line, endpoint, models)
            first = seen.setdefault(job.custom_id, number)
            if first != number:
                why = f"line {first} has the same custom_id"
                raise LineInvalid(why, code="duplicate_custom_id", field="custom_id")
        except InvalidInput as error:
            wrong += 1
            if len(found) < SHOWN:
                found.append(LineError(number, error.reason, error.message, error.field))
        if count % TURN == 0:
            await asyncio.sleep(0)
    if not count:
        raise BatchInvalid("the file has no lines", [LineError(1, "empty_file", "the file has no lines", None)])
    if found:
        one = found[0]
        more = f"; and {wrong - 1} more lines are no requests" if wrong > 1 else ""
        raise BatchInvalid(f"line {one.line}: {one.message}{more}", found)
    return count


def _without_mark(line: bytes) -> bytes:
    return line.removeprefix(b"\xef\xbb\xbf")
