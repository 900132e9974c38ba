"""Reads blobs that hold a text in lines."""

from collections.abc import AsyncIterator

from consumers.stages.ports import Blobs


async def read_lines(blobs: Blobs, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
    """The lines of a blob without their line breaks, one line in memory at a time. Raises `NotFound`.

    `start` and `length`: only these bytes of it.
    """
    rest: list[bytes] = []
    async for piece in blobs.stream(key, start=start, length=length):
        *whole, tail = piece.split(b"\n")
        for line in whole:
            rest.append(line)
            if joined := b"".join(rest):
                yield joined
            rest = []
        rest.append(tail)
    if joined := b"".join(rest):
        yield joined
