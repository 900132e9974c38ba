"""`/v1/collections`: look, search, delete. What touches the index is a job like any other: the gateway waits for it."""

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.answers import json
from gateway.bodies import JsonRoute
from gateway.content import file_bytes
from gateway.problems import NotDoneYet
from gateway.routes.jobs import problems, view
from gateway.services import Parts, Services, Tenant
from gateway.views import collection_view
from infra.postgres.queries import cancel, catalogue
from schemas.errors import Conflict, JobError, NotFound
from schemas.ids import parsed
from schemas.jobs import CollectionList, CollectionView, Deleted, Submission
from schemas.kinds.indexing import IndexingInput
from schemas.kinds.inference import InferenceInput, Question, Rerank, Scalar
from schemas.lifecycle import JobState
from schemas.names import CollectionName, DocumentId

router = APIRouter(prefix="/v1/collections", tags=["collections"], route_class=JsonRoute)

Name = Annotated[CollectionName, Path()]
ANSWER_WITHIN_S: Final = 30


class SearchBody(BaseModel):
    """A query; `filter` as for inference."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: Question
    top_k: int = Field(5, ge=1, le=100)
    filter: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict, max_length=16)
    rerank: Rerank = False


class Hit(BaseModel):
    """A chunk that answers; `start`/`end` are character offsets in its document."""

    document_id: str
    chunk_id: str
    title: str | None
    text: str
    score: float
    scores: dict[str, float]
    start: int
    end: int
    metadata: dict[str, Any]


class Hits(BaseModel):
    """Best first."""

    data: list[Hit]


@router.get("", summary="List collections", response_model=CollectionList, responses=problems())
async def collections(parts: Parts, tenant: Tenant) -> Response:
    """The tenant's collections."""
    async with parts.database.connection() as connection:
        rows = await catalogue.collections(connection, tenant)
    return json({"data": [collection_view(row) for row in rows]})


@router.get("/{name}", summary="Look at a collection", response_model=CollectionView, responses=problems(404, 422))
async def collection(name: Name, parts: Parts, tenant: Tenant) -> Response:
    """A collection."""
    async with parts.database.connection() as connection:
        rows = await catalogue.collections(connection, tenant, name)
    if not rows:
        raise _unknown(name)
    return json(collection_view(rows[0]))


@router.delete("/{name}", summary="Remove a collection", response_model=Deleted, responses=problems(404, 422, 429))
async def drop(name: Name, parts: Parts, tenant: Tenant) -> Response:
    """Remove a collection with everything in it."""
    await _known(parts, tenant, name)
    await _done(parts, tenant, "indexing", IndexingInput(collection=name, drop=True))
    return json({"id": name, "object": "collection", "deleted": True})


@router.delete(
    "/{name}/documents/{id:path}",
    summary="Remove a document",
    response_model=Deleted,
    responses=problems(404, 422, 429),
)
async def forget(name: Name, id: Annotated[DocumentId, Path()], parts: Parts, tenant: Tenant) -> Response:
    """Remove a document from a collection."""
    await _known(parts, tenant, name)
    result = await _done(parts, tenant, "indexing", IndexingInput(collection=name, delete=[id]))
    if not result["documents"]["deleted"]:
        raise NotFound(f"there is no document {id!r} in {name!r}", code="document_not_found", field="id")
    return json({"id": id, "object": "document", "deleted": True})


@router.post(
    "/{name}/search",
    summary="Search a collection",
    response_model=Hits,
    responses=problems(400, 404, 409, 413, 422, 429),
)
async def search(name: Name, body: SearchBody, parts: Parts, tenant: Tenant) -> Response:
    """The chunks that answer a query best."""
    wanted = InferenceInput(
        collection=name, question=body.query, top_k=body.top_k, filter=body.filter, rerank=body.rerank, generate=None
    )
    result = await _done(parts, tenant, "inference", wanted)
    return json({"data": result["citations"]})


async def _done(parts: Services, tenant: str, kind: str, input: BaseModel) -> dict[str, Any]:
    """The result of an internal job in the interactive lane; its error, raised, when it fails."""
    await parts.limits.submission(tenant)
    accepted = await parts.submitter.submit(
        tenant, Submission(kind=kind, input=input, timeout_s=ANSWER_WITHIN_S, expires_in_s=ANSWER_WITHIN_S)
    )
    if not await parts.endings.wait(accepted.id, ANSWER_WITHIN_S):
        async with parts.database.connection() as connection:
            await cancel.cancel(connection, accepted.id, tenant)
        raise NotDoneYet(f"no worker answered within {ANSWER_WITHIN_S} s; is a worker of pool `cpu` running?")
    job = await view(parts, accepted.id, tenant)
    if job["state"] != JobState.SUCCEEDED:
        raise _as_error(job["error"] or {"code": "job_cancelled", "message": "the job was cancelled"})
    result: dict[str, Any] = job["result"]
    if set(result) == {"file"}:
        result = orjson.loads(await file_bytes(parts, tenant, parsed("file", result["file"])))
    return result


def _as_error(error: dict[str, Any]) -> JobError:
    kinds: dict[str, type[JobError]] = {"collection_not_found": NotFound, "collection_empty": Conflict}
    kind = kinds.get(error["code"], NotDoneYet if error["code"] in ("expired", "timeout") else JobError)
    return kind(error["message"], code=error["code"], field="name" if kind in (NotFound, Conflict) else None)


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no collection {name!r}", code="collection_not_found", field="name")


async def _known(parts: Services, tenant: str, name: str) -> None:
    async with parts.database.connection() as connection:
        if await catalogue.is_empty(connection, tenant, name) is None:
            raise _unknown(name)
