"""Parsed documents as they are kept, by blob, offset and length: no rebuild needs the files they came from."""

import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import IO, Any, Final

import orjson

from consumers.stages.aside import aside
from consumers.stages.ports import Blobs
from schemas.retrieval import Heading, ParsedDocument

LONG_CHARS: Final = 250_000
"""A longer text is a long document, of which a worker holds only a few at once."""

LONG_PACKED: Final = 50_000
"""Bytes of a kept document that takes milliseconds to read."""

LEVEL: Final = 1
SMALL_WINDOW: Final = 12
"""Bits: 4 KiB, a page of text."""
PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """Everything that is indexed of a document."""

    title: str | None
    metadata: dict[str, Any]
    parsed: ParsedDocument

    def serialised(self) -> tuple[bytes, str]:
        """All of it, for `pack`, and the hash that tells whether a document has changed."""
        data = orjson.dumps(
            {
                "title": self.title,
                "metadata": self.metadata,
                "text": self.parsed.text,
                "headings": [[heading.start, heading.level, heading.text] for heading in self.parsed.headings],
                "pages": list(self.parsed.pages),
            },
            option=orjson.OPT_SORT_KEYS,
        )
        return data, sha256(data).hexdigest()


def pack(serialised: bytes) -> bytes:
    """As a document is kept."""
    # A window no larger than the document needs: making the usual one takes five times as long as filling it.
    window = SMALL_WINDOW if len(serialised) <= 1 << SMALL_WINDOW else zlib.MAX_WBITS
    packing = zlib.compressobj(LEVEL, zlib.DEFLATED, window)
    return packing.compress(serialised) + packing.flush()


async def read_content(blobs: Blobs, source: tuple[str, int, int]) -> Content:
    """What was packed. Raises `NotFound` when the blob is gone."""
    key, offset, length = source
    pieces = [piece async for piece in blobs.stream(key, start=offset, length=length)]
    return await aside(_unpacked, b"".join(pieces)) if length > LONG_PACKED else _unpacked(b"".join(pieces))


def _unpacked(packed: bytes) -> Content:
    held = orjson.loads(zlib.decompress(packed))
    headings = [Heading(*heading) for heading in held["headings"]]
    parsed = ParsedDocument(held["text"], held["title"], headings, held["pages"])
    return Content(held["title"], held["metadata"], parsed)


async def file_pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    """A file from its beginning, in pieces. It is small or in the page cache, so reading it does not block."""
    file.seek(0)
    while piece := file.read(PIECE):
        yield piece
