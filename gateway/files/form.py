"""Reads `multipart/form-data` as it arrives: a file's bytes are passed on while the rest is still on its way."""

import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from schemas.errors import InvalidInput

MAX_FIELD_BYTES: Final = 4096
MAX_FIELDS: Final = 16
MEDIA_TYPE: Final = re.compile(rb"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:;[ -~]*)?")
"""RFC 6838 names; a part's content type goes into a header of every download."""

UNKNOWN: Final = "application/octet-stream"
TYPES: Final = {
    ".csv": "text/csv",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".htm": "text/html",
    ".html": "text/html",
    ".hwp": "application/x-hwp",
    ".hwpx": "application/hwp+zip",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
}
"""Content types by file extension, for when the client does not send one. Few clients know Hangul's formats."""


@dataclass(slots=True)
class Part:
    """A part of the form: a field's value, or a file's bytes as a stream."""

    name: str
    filename: str | None
    content_type: str


@dataclass(slots=True)
class _Reader:
    """What the push parser produced and nobody has consumed yet."""

    parts: deque[Part | bytes | None] = field(default_factory=deque)
    complete: bool = False
    headers: dict[str, bytes] = field(default_factory=dict)
    name: bytes = b""
    value: bytes = b""

    def part_begin(self) -> None:
        self.headers = {}

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def header_end(self) -> None:
        self.headers[self.name.decode("latin-1").lower()] = self.value
        self.name = self.value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self.headers.get("content-disposition", b""))
        given = options.get(b"filename")
        filename = None if given is None else given.decode("utf-8", "replace")
        name = options.get(b"name", b"").decode("utf-8", "replace")
        self.parts.append(Part(name, filename, _media_type(self.headers.get("content-type", b""), filename or "")))

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts.append(data[start:end])

    def part_end(self) -> None:
        self.parts.append(None)

    def end(self) -> None:
        self.complete = True


class Form:
    """A form being received. Fields that come before the file are in `fields` when `file()` returns."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise InvalidInput("send multipart/form-data with a part `file`", field="Content-Type")
        self.fields: dict[str, str] = {}
        self._body = body
        self._reader = _Reader()
        r = self._reader
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": r.part_begin,
                    "on_part_data": r.part_data,
                    "on_part_end": r.part_end,
                    "on_header_field": r.header_field,
                    "on_header_value": r.header_value,
                    "on_header_end": r.header_end,
                    "on_headers_finished": r.headers_finished,
                    "on_end": r.end,
                },
            )
        except FormParserError as error:
            raise InvalidInput(f"the form's boundary cannot be used: {error}", field="Content-Type") from error

    async def file(self) -> Part:
        """The part that is a file. Raises `InvalidInput` when the form has none."""
        while (part := await self._next()) is not None:
            if isinstance(part, Part):
                if part.filename is not None:
                    return part
                await self._add_field(part.name)
        raise InvalidInput("the form has no part `file` with a file name", field="file")

    async def content(self) -> AsyncIterator[bytes]:
        """The bytes of the file that `file()` found. Raises `InvalidInput` when the form breaks off."""
        while (piece := await self._next()) is not None:
            assert isinstance(piece, bytes)
            yield piece

    async def rest(self) -> None:
        """Read the fields that come after the file. Raises `InvalidInput` when the form breaks off."""
        while (part := await self._next(end=True)) is not None:
            if isinstance(part, Part):
                if part.filename is not None:
                    raise InvalidInput("send one file a request", field="file")
                await self._add_field(part.name)
        if not self._reader.complete:
            raise InvalidInput("the form ends before its closing boundary", field="body")

    async def _add_field(self, name: str) -> None:
        self.fields[name] = await self._value(name)
        if len(self.fields) > MAX_FIELDS:
            raise InvalidInput(f"a form has at most {MAX_FIELDS} fields", field="body")

    async def _value(self, name: str) -> str:
        value = b""
        while (piece := await self._next()) is not None:
            assert isinstance(piece, bytes)
            value += piece
            if len(value) > MAX_FIELD_BYTES:
                raise InvalidInput(f"at most {MAX_FIELD_BYTES} bytes", field=name)
        return value.decode("utf-8", "replace")

    async def _next(self, *, end: bool = False) -> Part | bytes | None:
        """The next part, piece, or end of a part; at the end of the body None if `end`, else `InvalidInput`."""
        while not self._reader.parts:
            try:
                data = await anext(self._body)
            except StopAsyncIteration:
                if end:
                    return None
                raise InvalidInput(
                    "the form ends before its file is complete, or has no part `file`", field="file"
                ) from None
            try:
                self._parser.write(data)
            except FormParserError as error:
                raise InvalidInput(f"the body is not a valid form: {error}", field="body") from error
        return self._reader.parts.popleft()


def _media_type(given: bytes, filename: str) -> str:
    said = given.decode("ascii") if MEDIA_TYPE.fullmatch(given) else UNKNOWN
    return TYPES.get(PurePath(filename.lower()).suffix, UNKNOWN) if said == UNKNOWN else said
