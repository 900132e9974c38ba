"""`/v1/collections`: read, change, search, delete.

Only workers touch the index. A worker answers a search at once, or a job does it; deletes are jobs. The gateway waits
for these. A change is answered with its job.
"""

import json as jsonlib
from typing import Annotated

import asyncpg
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from gateway.collections.search import SearchBody, SearchRoute
from gateway.collections.views import collection_summary, collection_view
from gateway.http.answers import json, page
from gateway.http.bodies import JsonRoute, refused
from gateway.http.leaving import while_connected
from gateway.http.openapi import problems
from gateway.http.rows import Row
from gateway.jobs.internal import done
from gateway.services import Services, ServicesDep, Tenant
from infra.metrics import SEARCHES
from infra.postgres.catalogue.records import stored_settings
from infra.postgres.queries import catalogue
from schemas.answers import Deleted
from schemas.collections import CollectionPage, CollectionSettings, CollectionView
from schemas.errors import NotFound
from schemas.jobs import JobView, Submission
from schemas.kinds.indexing import IndexingInput
from schemas.kinds.inference import InferenceInput
from schemas.names import CollectionName, DocumentId
from schemas.searches import HIT, Hits
from schemas.topics import Lane

router = APIRouter(prefix="/v1/collections", tags=["collections"], route_class=JsonRoute)

Name = Annotated[CollectionName, Path()]


def _read_as_json(value: object) -> object:
    """JSON's types, strictly; and only what was sent is set. Raises `pydantic.ValidationError`."""
    return (
        CollectionSettings.model_validate_json(jsonlib.dumps(value), strict=True) if isinstance(value, dict) else value
    )


class ChangeBody(BaseModel):
    """Settings to change; omitted ones stay. `rebuild`: index all documents again in any case."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"settings": {"sparse": {"k1": 0.9}, "fusion": {"per_document": 2}}}},
    )

    settings: Annotated[CollectionSettings | None, BeforeValidator(_read_as_json)] = None
    rebuild: bool = False

    @model_validator(mode="after")
    def _something_to_do(self) -> "ChangeBody":
        if self.settings is None and not self.rebuild:
            raise ValueError("nothing to do: give `settings`, or `rebuild`: true")
        return self


@router.get("", summary="List collections", response_model=CollectionPage, responses=problems(422, 429))
async def collections(
    services: ServicesDep,
    tenant: Tenant,
    after: Annotated[CollectionName | None, Query(description="The last name of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """The tenant's collections by name, without settings and fields: read one collection to see those."""
    async with services.reads.connection(tenant) as connection:
        rows = await catalogue.collections(connection, tenant, after, limit + 1)
    return json(page([collection_summary(row) for row in rows], limit))


@router.get("/{name}", summary="Look at a collection", response_model=CollectionView, responses=problems(404, 422, 429))
async def collection(name: Name, services: ServicesDep, tenant: Tenant) -> Response:
    """Its contents, encoders and settings, the metadata it can be filtered by, and whether it is being rebuilt."""
    return json(collection_view(await _row(services, tenant, name)))


@router.patch(
    "/{name}",
    summary="Change a collection",
    status_code=202,
    response_model=JobView,
    responses=problems(400, 404, 413, 422, 429),
)
async def change(name: Name, body: ChangeBody, services: ServicesDep, tenant: Tenant) -> Response:
    """Change settings, or index all documents again: 202 with the job that does it. Searches continue meanwhile."""
    rebuilds = _check(body, await _row(services, tenant, name)) or body.rebuild
    await services.limits.submission(tenant)
    wanted = IndexingInput(collection=name, settings=body.settings, rebuild=body.rebuild)
    lane = Lane.BULK if rebuilds else Lane.INTERACTIVE
    accepted = await services.submitter.submit(tenant, Submission(kind="indexing", input=wanted, lane=lane))
    return json(accepted.view, 202, {"Location": accepted.view["links"]["self"]})


@router.delete("/{name}", summary="Remove a collection", response_model=Deleted, responses=problems(404, 422, 429))
async def drop(name: Name, services: ServicesDep, tenant: Tenant) -> Response:
    """Remove a collection with everything in it."""
    await _known(services, tenant, name)
    await services.limits.submission(tenant)
    await done(services, tenant, "indexing", IndexingInput(collection=name, drop=True))
    return json({"id": name, "object": "collection", "deleted": True})


@router.delete(
    "/{name}/documents/{id:path}",
    summary="Remove a document",
    response_model=Deleted,
    responses=problems(404, 422, 429),
)
async def forget(name: Name, id: Annotated[DocumentId, Path()], services: ServicesDep, tenant: Tenant) -> Response:
    """Remove a document from a collection."""
    await _known(services, tenant, name)
    await services.limits.submission(tenant)
    result = await done(services, tenant, "indexing", IndexingInput(collection=name, delete=[id]))
    if not result["documents"]["deleted"]:
        raise NotFound(f"there is no document {id!r} in {name!r}", code="document_not_found", field="id")
    return json({"id": id, "object": "document", "deleted": True})


async def search(name: Name, body: SearchBody, request: Request, services: ServicesDep, tenant: Tenant) -> Response:
    """The chunks that answer a query best."""
    wanted = InferenceInput(
        collection=name, question=body.query, top_k=body.top_k, filter=body.filter, rerank=body.rerank, generate=None
    )
    found = await while_connected(request, services.searches.answer(tenant, wanted))
    if found is not None:
        SEARCHES.labels("worker").inc()
        return Response(found, media_type="application/json")
    SEARCHES.labels("job").inc()
    result = await done(services, tenant, "inference", wanted)
    return json({"data": [{field: hit[field] for field in HIT} for hit in result["citations"]]})


router.add_api_route(
    "/{name}/search",
    search,
    methods=["POST"],
    summary="Search a collection",
    response_model=Hits,
    responses=problems(400, 404, 409, 413, 422, 429),
    route_class_override=SearchRoute,
)


def _check(body: ChangeBody, row: Row) -> bool:
    """Whether the change needs all documents indexed again. Raises `RequestValidationError` when the result is invalid.

    Two concurrent changes may each be valid alone; then the second job fails.
    """
    if body.settings is None:
        return False
    now = stored_settings(row["settings"])
    try:
        changed = now.changed(body.settings.model_dump(exclude_unset=True))
    except ValidationError as error:
        raise refused(error, "body", "settings") from error
    return changed.shapes_vectors() != now.shapes_vectors()


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no collection {name!r}", code="collection_not_found", field="name")


async def _row(services: Services, tenant: str, name: str) -> asyncpg.Record:
    async with services.reads.connection(tenant) as connection:
        row = await catalogue.whole_collection(connection, tenant, name)
    if row is None:
        raise _unknown(name)
    return row


async def _known(services: Services, tenant: str, name: str) -> None:
    async with services.database.connection() as connection:
        if await catalogue.is_empty(connection, tenant, name) is None:
            raise _unknown(name)
