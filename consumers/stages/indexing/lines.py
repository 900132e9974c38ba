"""What travels between indexing stages as blobs: one JSON object a line, with vectors packed."""

import struct
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import orjson

from consumers.stages.ports import Blobs
from schemas.retrieval import Point, SparseVector


async def read_lines(blobs: Blobs, key: str) -> AsyncIterator[bytes]:
    """The lines of a blob without their line breaks, one line in memory at a time. Raises `NotFound`."""
    rest: list[bytes] = []
    async for piece in blobs.stream(key):
        *whole, tail = piece.split(b"\n")
        for line in whole:
            rest.append(line)
            if joined := b"".join(rest):
                yield joined
            rest = []
        rest.append(tail)
    if joined := b"".join(rest):
        yield joined


async def read_points(blobs: Blobs, key: str, size: int) -> AsyncIterator[list[Point]]:
    """The points of a blob in lists of at most `size`. Raises `NotFound`."""
    batch: list[Point] = []
    async for line in read_lines(blobs, key):
        batch.append(point_from_line(line))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def encoded_text(title: str | None, text: str) -> str:
    """What encoders read of a chunk: its document's title goes in front, for chunks that never name their subject."""
    return f"{title}\n{text}" if title else text


def point_line(point: Point, dense: Sequence[float] | None = None) -> bytes:
    """A point, with a dense vector where one is given, as a line; numbers in 32 bits, as vector indexes keep them."""
    slim = asdict(replace(point, sparse=SparseVector((), ()), dense=None))
    slim["sparse"] = [_pack("I", point.sparse.indices), _pack("f", point.sparse.values)]
    slim["dense"] = None if dense is None else _pack("f", dense)
    return orjson.dumps(slim, option=orjson.OPT_APPEND_NEWLINE)


def point_from_line(line: bytes) -> Point:
    """The point that `point_line` wrote."""
    slim = orjson.loads(line)
    indices, values = slim.pop("sparse")
    dense = slim.pop("dense")
    return Point(
        **slim,
        sparse=SparseVector(_unpack("I", indices), _unpack("f", values)),
        dense=None if dense is None else _unpack("f", dense),
    )


def _pack(kind: str, numbers: Sequence[float]) -> str:
    return b64encode(struct.pack(f"<{len(numbers)}{kind}", *numbers)).decode()


def _unpack(kind: str, packed: str) -> list[Any]:
    data = b64decode(packed)
    return list(struct.unpack(f"<{len(data) // 4}{kind}", data))
