"""Serves the bytes of files: all, a range of them, or none if the client has them (RFC 9110, 13 and 14)."""

import re
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

import asyncpg
from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from gateway.http.errors import PreconditionFailed, RangeUnsatisfiable
from gateway.services import Services
from infra.postgres.queries import files
from schemas.errors import NotFound

AS_DATA: Final = {"Content-Disposition": "attachment", "Content-Security-Policy": "sandbox; default-src 'none'"}
"""A tenant chooses the type of its files, even HTML, so a browser must not run them as a page of this server."""

ENTITY_TAG: Final = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')


class Conditions(BaseModel):
    """The headers that ask for a part of a file, or for none of it. Dates do not identify versions of files here."""

    range: str | None = None
    if_range: str | None = None
    if_match: str | None = None
    if_none_match: str | None = None


async def file_response(
    services: Services, tenant: str, file_id: UUID, asked: Conditions, *, head: bool = False
) -> Response:
    """A file's bytes, as the request's conditions and its `Range` (one range) ask for them; `head`: none of them.

    Raises `NotFound`, `PreconditionFailed` and `RangeUnsatisfiable`.
    """
    row = await _row(services, tenant, file_id)
    size: int = row["bytes"]
    tag = f'"{row["sha256"]}"'
    headers = {"Accept-Ranges": "bytes", "ETag": tag, **AS_DATA}
    if asked.if_match is not None and not _names(asked.if_match, tag, weak=False):
        raise PreconditionFailed("the file has another ETag", field="If-Match")
    if asked.if_none_match is not None and _names(asked.if_none_match, tag, weak=True):
        return Response(None, 304, headers)
    # A range applies only to GET (14.2), and to the version that If-Range names.
    unchanged = asked.if_range is None or asked.if_range.strip() == tag
    found = byte_range(asked.range, size) if unchanged and not head else None
    start, length = found or (0, size)
    headers["Content-Length"] = str(length)
    if found is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    body = _nothing() if head else services.blobs.stream(row["blob"], start=start, length=length)
    return StreamingResponse(body, 200 if found is None else 206, headers, row["content_type"])


async def file_bytes(services: Services, tenant: str, file_id: UUID) -> bytes:
    """A small file's bytes. Raises `NotFound`."""
    return await services.blobs.get((await _row(services, tenant, file_id))["blob"])


async def _row(services: Services, tenant: str, file_id: UUID) -> asyncpg.Record:
    async with services.database.connection() as connection:
        row = await files.file(connection, file_id, tenant)
    if row is None:
        raise NotFound(f"there is no file file_{file_id.hex}", code="file_not_found", field="id")
    return row


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _names(header: str, tag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags holds the file's, or is `*`; `weak`: a tag that says it is weak counts too."""
    if header.strip() == "*":
        return True
    tags = ENTITY_TAG.findall(header)
    return tag in tags or (weak and f"W/{tag}" in tags)


def byte_range(wanted: str | None, size: int) -> tuple[int, int] | None:
    """First byte and length of a `Range` header over `size` bytes; None: all of it, or no byte range."""
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (wanted or "").strip())
    if found is None or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    if first:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    else:
        start, end = max(size - int(last), 0), size - 1
    if start > end:
        raise RangeUnsatisfiable(size)
    return start, end - start + 1
