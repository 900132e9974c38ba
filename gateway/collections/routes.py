"""`/v1/collections`: read, change, search, delete.

Everything that touches the index is a job. The gateway waits for the job of a search or a delete; a change is answered
with its job.
"""

import json as jsonlib
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Path, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gateway.collections.views import collection_summary, collection_view
from gateway.http.answers import json, page
from gateway.http.bodies import JsonRoute
from gateway.http.openapi import problems
from gateway.http.rows import Row
from gateway.jobs.internal import done
from gateway.services import Services, ServicesDep, Tenant
from infra.postgres.catalogue.records import stored_settings
from infra.postgres.queries import catalogue
from schemas.answers import Deleted
from schemas.collections import CollectionPage, CollectionSettings, CollectionView
from schemas.errors import NotFound
from schemas.filters import Filter
from schemas.jobs import JobView, Submission
from schemas.kinds.indexing import IndexingInput
from schemas.kinds.inference import InferenceInput, Question
from schemas.names import CollectionName, DocumentId
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


class SearchBody(BaseModel):
    """A query; `filter` and `rerank` as for inference."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"query": "출장 숙박비", "top_k": 5, "filter": {"year": {"gte": 2020}}}},
    )

    query: Question
    top_k: int = Field(5, ge=1, le=100)
    filter: Filter = Field(default_factory=dict)
    rerank: bool | None = Field(None, description="null: if the deployment has a reranker.")


class Hit(BaseModel):
    """A chunk that answers; `start`/`end` are character offsets in its document.

    `heading` is the path of headings it stands under, `page` the 1-based page it begins on.
    """

    document_id: str
    chunk_id: str
    title: str | None
    text: str
    score: float
    scores: dict[str, float]
    start: int
    end: int
    metadata: dict[str, Any]
    heading: str | None
    page: int | None


class Hits(BaseModel):
    """Best first."""

    data: list[Hit]


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
    result = await done(services, tenant, "indexing", IndexingInput(collection=name, delete=[id]))
    if not result["documents"]["deleted"]:
        raise NotFound(f"there is no document {id!r} in {name!r}", code="document_not_found", field="id")
    return json({"id": id, "object": "document", "deleted": True})


@router.post(
    "/{name}/search",
    summary="Search a collection",
    response_model=Hits,
    responses=problems(400, 404, 409, 413, 422, 429),
)
async def search(name: Name, body: SearchBody, services: ServicesDep, tenant: Tenant) -> Response:
    """The chunks that answer a query best."""
    wanted = InferenceInput(
        collection=name, question=body.query, top_k=body.top_k, filter=body.filter, rerank=body.rerank, generate=None
    )
    result = await done(services, tenant, "inference", wanted)
    return json({"data": result["citations"]})


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
        errors = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", "settings", *one["loc"])} for one in errors]) from error
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
