"""`/v1/uploads`, by OpenAI's contract: begin, add parts, complete, cancel."""

from typing import Annotated, Any, Final

import asyncpg
import uuid_utils.compat as uuids
from fastapi import APIRouter, Path, Request, Response

from gateway.files.form import Form
from gateway.files.views import file_view
from gateway.http.answers import json
from gateway.http.bodies import JsonRoute
from gateway.http.errors import TooLarge
from gateway.http.openapi import form, problems
from gateway.services import ServicesDep, Tenant
from gateway.uploads.parts import put_together, store_part, upload_of
from infra.postgres.queries import files, uploads
from schemas.errors import Conflict
from schemas.files import LIFE_S
from schemas.ids import parsed, shown
from schemas.uploads import LIVES_S, Completion, NewUpload, PartView, UploadView

router = APIRouter(prefix="/v1/uploads", tags=["files"])

Id = Annotated[str, Path(description="`upload_` and 32 hex digits.")]
FORM: Final = form({"data": {"type": "string", "format": "binary"}}, required="data")


async def begin(body: NewUpload, services: ServicesDep, tenant: Tenant) -> Response:
    """Announce a file that is to be sent in parts, within an hour."""
    limit = services.settings.max_file_bytes
    if body.bytes > limit:
        raise TooLarge(f"a file has at most {limit} bytes; split it", field="bytes")
    life = body.expires_after.seconds if body.expires_after else LIFE_S.get(body.purpose)
    async with services.database.connection() as connection:
        row = await uploads.begin(
            connection,
            uuids.uuid7(),
            tenant,
            filename=body.filename,
            purpose=body.purpose,
            content_type=body.mime_type,
            size=body.bytes,
            lives_s=life,
            open_s=LIVES_S,
        )
    return json(_view(row))


async def complete(id: Id, body: Completion, services: ServicesDep, tenant: Tenant) -> Response:
    """Make a file of the parts, in the order given. Completing once more gives the same file."""
    row = await upload_of(services, parsed("upload", id), tenant)
    file: asyncpg.Record | None
    if row["status"] == "completed":
        async with services.database.connection() as connection:
            file = await files.file(connection, row["file_id"], tenant)
    else:
        ids = [parsed("part", one) for one in body.part_ids]
        row, file = await put_together(services, tenant, row, ids, body.md5)
    return json(_view(row, file))


async def cancel(id: Id, services: ServicesDep, tenant: Tenant) -> Response:
    """Give an upload up; its parts are removed."""
    row = await upload_of(services, parsed("upload", id), tenant)
    async with services.database.connection() as connection:
        ended = await uploads.end(connection, row["id"], "cancelled", None)
    if ended is None:
        raise Conflict(f"the upload is {row['status']}", code=f"upload_{row['status']}", field="id")
    return json(_view(ended))


@router.post(
    "/{id}/parts",
    summary="Add a part to an upload",
    response_model=PartView,
    responses=problems(404, 409, 413, 422, 429),
    openapi_extra=FORM,
)
async def add_part(id: Id, request: Request, services: ServicesDep, tenant: Tenant) -> Response:
    """Store a part: multipart with `data`, up to 64 MiB. Parts may come in any order, several at once."""
    row = await upload_of(services, parsed("upload", id), tenant)
    form = Form(request.headers.get("content-type", ""), request.stream())
    part = await store_part(services, tenant, row, form)
    return json(
        {
            "id": shown("part", part["id"]),
            "object": "upload.part",
            "created_at": int(part["created_at"].timestamp()),
            "upload_id": id,
        }
    )


for path, route, summary, found in (
    ("", begin, "Begin an upload in parts", problems(400, 413, 422)),
    ("/{id}/complete", complete, "Complete an upload", problems(400, 404, 409, 413, 422, 429)),
    ("/{id}/cancel", cancel, "Cancel an upload", problems(404, 409)),
):
    router.add_api_route(
        path,
        route,
        methods=["POST"],
        summary=summary,
        response_model=UploadView,
        responses=found,
        route_class_override=JsonRoute,
    )


def _view(row: asyncpg.Record, file: asyncpg.Record | None = None) -> dict[str, Any]:
    return {
        "id": shown("upload", row["id"]),
        "object": "upload",
        "bytes": row["bytes"],
        "created_at": int(row["created_at"].timestamp()),
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": row["status"],
        "expires_at": int(row["expires_at"].timestamp()),
        "file": None if file is None else file_view(file),
    }
