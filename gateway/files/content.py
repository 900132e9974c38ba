"""Serves the bytes of files, whole or a range of them."""

import re
from typing import Final
from uuid import UUID

import asyncpg
from fastapi import Response
from fastapi.responses import StreamingResponse

from gateway.http.errors import RangeUnsatisfiable
from gateway.services import Services
from infra.postgres.queries import files
from schemas.errors import NotFound

AS_DATA: Final = {"Content-Disposition": "attachment", "Content-Security-Policy": "sandbox; default-src 'none'"}
"""A tenant chooses the type of its files, HTML too: a browser must not run them as a page of this server."""


async def file_response(services: Services, tenant: str, file_id: UUID, wanted: str | None) -> Response:
    """A file's bytes; `wanted` is a `Range` header (RFC 9110, one range). Raises `NotFound`, `RangeUnsatisfiable`."""
    row = await _row(services, tenant, file_id)
    size: int = row["bytes"]
    headers = {"Accept-Ranges": "bytes", "ETag": f'"{row["sha256"]}"', **AS_DATA}
    found = byte_range(wanted, size)
    if found is None:
        headers["Content-Length"] = str(size)
        return StreamingResponse(services.blobs.stream(row["blob"]), 200, headers, row["content_type"])
    start, length = found
    headers |= {"Content-Length": str(length), "Content-Range": f"bytes {start}-{start + length - 1}/{size}"}
    stream = services.blobs.stream(row["blob"], start=start, length=length)
    return StreamingResponse(stream, 206, headers, row["content_type"])


async def file_bytes(services: Services, tenant: str, file_id: UUID) -> bytes:
    """A small file's bytes. Raises `NotFound`."""
    return await services.blobs.get((await _row(services, tenant, file_id))["blob"])


async def _row(services: Services, tenant: str, file_id: UUID) -> asyncpg.Record:
    async with services.database.connection() as connection:
        row = await files.file(connection, file_id, tenant)
    if row is None:
        raise NotFound(f"there is no file file_{file_id.hex}", code="file_not_found", field="id")
    return row


def byte_range(wanted: str | None, size: int) -> tuple[int, int] | None:
    """First byte and length of a `Range` header over `size` bytes; None: all of it, also for what is no byte range."""
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
