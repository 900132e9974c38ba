"""`/v1/files`, by OpenAI's contract: upload, list, read, download, remove."""

from contextlib import suppress
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response

from gateway.files.content import Conditions, file_response
from gateway.files.form import Form
from gateway.files.receiving import receive
from gateway.files.views import file_page, file_view
from gateway.http.answers import json
from gateway.http.heads import is_head
from gateway.http.openapi import form, problems
from gateway.services import ServicesDep, Tenant
from infra.postgres.queries import files
from schemas.answers import Deleted
from schemas.errors import DependencyUnavailable, NotFound
from schemas.files import (
    A_PAGE,
    DEFAULT_PURPOSE,
    LISTED_AT_MOST,
    LONGEST_LIFE_S,
    PURPOSES,
    SHORTEST_LIFE_S,
    FilePage,
    FileView,
)
from schemas.ids import parsed, pattern

router = APIRouter(prefix="/v1/files", tags=["files"])

FileId = Annotated[str, Path(description="`file_` and 32 hex digits.")]
EXPIRES_AFTER: Final[dict[str, Any]] = {
    "expires_after[anchor]": {
        "type": "string",
        "enum": ["created_at"],
        "description": "With it comes `expires_after[seconds]`.",
    },
    "expires_after[seconds]": {"type": "integer", "minimum": SHORTEST_LIFE_S, "maximum": LONGEST_LIFE_S},
}
"""OpenAI's object, as forms write its members."""

FORM: Final = form(
    {
        "purpose": {"type": "string", "default": DEFAULT_PURPOSE, "enum": list(PURPOSES)},
        "file": {"type": "string", "format": "binary"},
        **EXPIRES_AFTER,
    },
    required="file",
)


@router.post(
    "",
    summary="Upload a file",
    response_model=FileView,
    responses=problems(413, 422, 429),
    openapi_extra=FORM,
)
async def upload(request: Request, services: ServicesDep, tenant: Tenant) -> Response:
    """Store a file: multipart with `file`, and optionally `purpose` and an expiry."""
    row = await receive(services, tenant, Form(request.headers.get("content-type", ""), request.stream()))
    view = file_view(row)
    return json(view, 200, {"Location": f"/v1/files/{view['id']}"})


@router.get("", summary="List files", response_model=FilePage, responses=problems(422, 429))
async def listing(
    services: ServicesDep,
    tenant: Tenant,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[str | None, Query(pattern=pattern("file"), description="The last id of the page before.")] = None,
    limit: Annotated[
        int, Query(ge=1, le=LISTED_AT_MOST, description=f"A page holds at most {A_PAGE} of them.")
    ] = LISTED_AT_MOST,
    order: Annotated[Literal["asc", "desc"], Query(description="By `created_at`.")] = "desc",
) -> Response:
    """Files, newest first unless `order` says otherwise."""
    limit = min(limit, A_PAGE)
    async with services.reads.connection(tenant) as connection:
        rows = await files.files(
            connection,
            tenant,
            purpose=purpose,
            after=None if after is None else parsed("file", after),
            limit=limit + 1,
            newest_first=order == "desc",
        )
    return json(file_page(rows, limit))


@router.get("/{id}", summary="Look at a file", response_model=FileView, responses=problems(404))
async def file(id: FileId, services: ServicesDep, tenant: Tenant) -> Response:
    """A file's metadata."""
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
        304: {"description": "The client has them already."},
        **problems(404, 412, 416),
    },
)
async def content(
    id: FileId, services: ServicesDep, tenant: Tenant, request: Request, conditions: Annotated[Conditions, Header()]
) -> Response:
    """A file's bytes, or a range of them."""
    return await file_response(services, tenant, parsed("file", id), conditions, head=is_head(request))


@router.delete("/{id}", summary="Remove a file", response_model=Deleted, responses=problems(404))
async def delete(id: FileId, services: ServicesDep, tenant: Tenant) -> Response:
    """Remove a file. Documents indexed from it stay."""
    async with services.database.connection() as connection:
        removed = await files.delete(connection, parsed("file", id), tenant)
    if removed is None:
        raise NotFound(f"there is no file {id}", code="file_not_found", field="id")
    services.limits.removed(tenant, removed["bytes"])
    with suppress(DependencyUnavailable):  # the file is gone; retention deletes its remains
        await services.blobs.delete(removed["blob"])
        async with services.database.connection() as connection:
            await files.deleted(connection, removed["blob"])
    return json({"id": id, "object": "file", "deleted": True})
