"""What travels between indexing stages as blobs: one JSON object a line, with vectors packed."""

from array import array
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from consumers.stages.aside import aside
from consumers.stages.lines import read_lines
from consumers.stages.ports import Blobs
from schemas.errors import InvalidInput
from schemas.kinds.indexing.parts import PartDocument, PartInput
from schemas.retrieval import Point, SparseVector


def part_document(line: bytes, part: PartInput) -> PartDocument:
    """The document in a line of a part. Raises `InvalidInput` for one that no table can have."""
    if not part.rows:
        return PartDocument.model_validate_json(line)
    try:
        document = PartDocument.model_validate_json(line)
        if document.blob is not None or document.text is None:
            raise ValueError("a row names a blob")
    except ValueError as error:  # pydantic's errors are such, too
        why = "the corpus cannot be read: what was read makes no sense; save it again"
        raise InvalidInput(why, code="corpus_unreadable", field="input.corpus.file") from error
    return document


async def read_points(blobs: Blobs, key: str, size: int) -> AsyncIterator[list[Point]]:
    """The points of a blob in lists of at most `size`. Raises `NotFound`."""
    lines: list[bytes] = []
    async for line in read_lines(blobs, key):
        lines.append(line)
        if len(lines) == size:
            yield await aside(_points, lines)
            lines = []
    if lines:
        yield await aside(_points, lines)


def _points(lines: Sequence[bytes]) -> list[Point]:
    return [point_from_line(line) for line in lines]


def point_line(point: Point) -> bytes:
    """A point as a line; numbers of vectors in 32 bits, as vector indexes keep them."""
    slim = {
        "id": point.id,
        "document_id": point.document_id,
        "content_hash": point.content_hash,
        "title": point.title,
        "text": point.text,
        "start": point.start,
        "end": point.end,
        "metadata": point.metadata,
        "version": point.version,
        "heading": point.heading,
        "page": point.page,
        "sparse": _packed_sparse(point.sparse),
        "dense": None if point.dense is None else _pack("f", point.dense),
        "learned": None if point.learned is None else _packed_sparse(point.learned),
    }
    return orjson.dumps(slim, option=orjson.OPT_APPEND_NEWLINE)


def point_from_line(line: bytes) -> Point:
    """The point that `point_line` wrote."""
    slim = orjson.loads(line)
    sparse, dense, learned = slim.pop("sparse"), slim.pop("dense"), slim.pop("learned")
    return Point(
        **slim,
        sparse=_sparse(sparse),
        dense=None if dense is None else _unpack("f", dense),
        learned=None if learned is None else _sparse(learned),
    )


def _packed_sparse(vector: SparseVector) -> list[str]:
    return [_pack("I", vector.indices), _pack("f", vector.values)]


def _sparse(packed: list[str]) -> SparseVector:
    indices, values = packed
    return SparseVector(_unpack("I", indices), _unpack("f", values))


def _pack(kind: str, numbers: Sequence[float]) -> str:
    return b64encode(array(kind, numbers).tobytes()).decode()


def _unpack(kind: str, packed: str) -> list[Any]:
    numbers = array(kind)
    numbers.frombytes(b64decode(packed))
    return numbers.tolist()
