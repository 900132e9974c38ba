"""`/v1/files`: uploads stream to object storage; downloads stream back."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Final

import uuid_utils.compat as uuids
from fastapi import APIRouter, Header, Path, Query, Request, Response

from gateway.files.content import file_response
from gateway.files.form import Form
from gateway.files.views import file_view
from gateway.http.answers import json, page
from gateway.http.errors import TooLarge
from gateway.http.openapi import problems
from gateway.services import ServicesDep, Tenant
from infra.postgres.queries import files
from schemas.answers import Deleted
from schemas.errors import DependencyUnavailable, InvalidInput, NotFound
from schemas.files import FilePage, FileView
from schemas.ids import parsed, pattern, shown

router = APIRouter(prefix="/v1/files", tags=["files"])

FileId = Annotated[str, Path(description="`file_` and 32 hex digits.")]
MAX_NAME_CHARS: Final = 255
FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "purpose": {"type": "string", "default": "documents", "maxLength": 64},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}


@router.post(
    "",
    summary="Upload a file",
    status_code=201,
    response_model=FileView,
    responses=problems(413, 422, 429),
    openapi_extra=FORM,
)
async def upload(request: Request, services: ServicesDep, tenant: Tenant) -> Response:
    """Store a file: multipart with `purpose` (optional, before the file) and `file`."""
    form = Form(request.headers.get("content-type", ""), request.stream())
    part = await form.file()
    filename = _file_name(part.filename or "")
    file_id = uuids.uuid7()
    blob = f"{tenant}/files/{file_id.hex}"
    digest = hashlib.sha256()
    limit = services.settings.max_file_bytes
    room = await services.limits.room(tenant)

    async def checked() -> AsyncIterator[bytes]:
        size = 0
        async for piece in form.content():
            size += len(piece)
            if size > limit:
                raise TooLarge(f"the file is larger than {limit} bytes; split it", field="file")
            if room is not None and size > room:
                raise services.limits.storage_full()
            digest.update(piece)
            yield piece

    async with services.database.connection() as connection:
        await files.expect(connection, blob)
    try:
        size = await services.blobs.put_stream(blob, checked(), content_type=part.content_type)
        await form.rest()
        purpose = form.fields.get("purpose", "documents").strip() or "documents"
        if len(purpose) > 64 or not purpose.isprintable():
            raise InvalidInput("at most 64 printable characters", field="purpose")
    except BaseException:
        await services.blobs.delete(blob)
        raise
    async with services.database.connection() as connection:
        row = await files.add_expected(
            connection,
            file_id,
            tenant,
            filename=filename,
            purpose=purpose,
            content_type=part.content_type,
            size=size,
            sha256=digest.hexdigest(),
            blob=blob,
        )
    if row is None:
        raise InvalidInput("the upload took longer than a day: send it again", code="upload_too_slow", field="file")
    services.limits.uploaded(tenant, size)
    return json(file_view(row), 201, {"Location": f"/v1/files/{shown('file', file_id)}"})


@router.get("", summary="List files", response_model=FilePage, responses=problems(422))
async def listing(
    services: ServicesDep,
    tenant: Tenant,
    after: Annotated[str | None, Query(pattern=pattern("file"), description="The last id of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Files, newest first."""
    async with services.database.connection() as connection:
        rows = await files.files(connection, tenant, None if after is None else parsed("file", after), limit + 1)
    return json(page([file_view(row) for row in rows], limit))


@router.get("/{id}", summary="Look at a file", response_model=FileView, responses=problems(404))
async def file(id: FileId, services: ServicesDep, tenant: Tenant) -> Response:
    """What is known of a file."""
    async with services.database.connection() as connection:
        row = await files.file(connection, parsed("file", id), tenant)
    if row is None:
        raise NotFound(f"there is no file {id}", code="file_not_found", field="id")
    return json(file_view(row))


@router.get(
    "/{id}/content",
    summary="Download a file",
    response_class=Response,
    responses={
        200: {"description": "The bytes.", "content": {"*/*": {}}},
        206: {"description": "A range of them.", "content": {"*/*": {}}},
        **problems(404, 416),
    },
)
async def content(
    id: FileId, services: ServicesDep, tenant: Tenant, range: Annotated[str | None, Header()] = None
) -> Response:
    """A file's bytes, or a range of them."""
    return await file_response(services, tenant, parsed("file", id), range)


@router.delete("/{id}", summary="Remove a file", response_model=Deleted, responses=problems(404))
async def delete(id: FileId, services: ServicesDep, tenant: Tenant) -> Response:
    """Remove a file. What was indexed from it stays."""
    async with services.database.connection() as connection:
        removed = await files.delete(connection, parsed("file", id), tenant)
    if removed is None:
        raise NotFound(f"there is no file {id}", code="file_not_found", field="id")
    services.limits.uploaded(tenant, -removed["bytes"])
    with suppress(DependencyUnavailable):  # the file is gone; retention deletes what is left of it
        await services.blobs.delete(removed["blob"])
        async with services.database.connection() as connection:
            await files.deleted(connection, removed["blob"])
    return json({"id": id, "object": "file", "deleted": True})


def _file_name(given: str) -> str:
    """The last part of what the client calls the file; it is never used as a path."""
    name = given.replace("\\", "/").rsplit("/", 1)[-1].strip()
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InvalidInput(f"a file name has 1 to {MAX_NAME_CHARS} printable characters", field="file")
    return name
