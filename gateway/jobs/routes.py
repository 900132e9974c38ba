"""`/v1/jobs`: submit, look, list, cancel, follow, and fetch results."""

import re
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
import orjson
from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import WithJsonSchema
from sse_starlette import EventSourceResponse

from gateway.files.content import file_response
from gateway.http.answers import json, page
from gateway.http.bodies import JsonRoute, SubmitRoute
from gateway.jobs import events
from gateway.jobs.views import job_view
from gateway.services import Parts, Services, Tenant
from infra.postgres.queries import cancel as cancelling
from infra.postgres.queries import moves, reading
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.ids import parsed
from schemas.jobs import JobPage, JobView, Problem, SubmitJob
from schemas.kinds.registry import KINDS
from schemas.lifecycle import TERMINAL, JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=JsonRoute)

LONGEST_WAIT_S: Final = 60
JOB_ID: Final = "^job_[0-9a-f]{32}$"
LAST_EVENT_ID: Final = 2**63 - 1
JobId = Annotated[str, Path(description="`job_` and 32 hex digits.")]
KindName = Annotated[str, WithJsonSchema({"type": "string", "enum": list(KINDS)})]
Prefer = Annotated[str | None, Header(description="`wait=N`: answer when the job ends, after N <= 60 s at the latest.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="The same key and body return the first job, for as long as it is kept.",
    ),
]
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}, "description": text}
    for status, text in {
        400: "Not JSON",
        401: "No valid API key",
        403: "For operators only",
        404: "No such thing for this tenant",
        409: "Not in this state",
        413: "Too large",
        416: "Beyond the end",
        422: "A field is not valid",
        429: "A limit of the tenant is reached: retry after the seconds of Retry-After",
        503: "A dependency is away: retry",
    }.items()
}


def problems(*status: int) -> dict[int | str, dict[str, Any]]:
    """The documented problems of a route: the given ones and those that every route has."""
    return {code: PROBLEMS[code] for code in (*status, 401, 503)}


async def submit(
    body: SubmitJob,
    parts: Parts,
    tenant: Tenant,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
    traceparent: Annotated[str | None, Header(description="W3C Trace Context.")] = None,
) -> Response:
    """Accept a job: 202 and its `Location`. 200 when its idempotency key made it before, or when it ended in `wait`."""
    wait_s = preferred_wait(prefer)
    if idempotency_key is not None and not (0 < len(idempotency_key) < 256 and idempotency_key.isprintable()):
        raise InvalidInput("give 1 to 255 printable characters", field="Idempotency-Key")
    accepted = await parts.submitter.submit(tenant, body, idempotency_key=idempotency_key, traceparent=traceparent)
    location = {"Location": accepted.view["links"]["self"]}
    if wait_s and await parts.endings.wait(accepted.id, wait_s):
        return json(await view(parts, accepted.id, tenant), 200, location | {"Preference-Applied": f"wait={wait_s}"})
    return json(accepted.view, 202 if accepted.new else 200, location)


router.add_api_route(
    "",
    submit,
    methods=["POST"],
    summary="Submit a job",
    status_code=202,
    response_model=None,
    responses={202: {"model": JobView}, 200: {"model": JobView}, **problems(400, 409, 413, 422, 429)},
    route_class_override=SubmitRoute,
)


@router.get("", summary="List jobs", response_model=JobPage, responses=problems(422))
async def jobs(
    parts: Parts,
    tenant: Tenant,
    kind: KindName | None = None,
    state: JobState | None = None,
    parent: Annotated[str | None, Query(pattern=JOB_ID)] = None,
    after: Annotated[str | None, Query(pattern=JOB_ID, description="The last id of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Jobs, newest first; children only under their `parent`."""
    if kind is not None and kind not in KINDS:
        raise InvalidInput(f"unknown kind {kind!r}: one of {', '.join(KINDS)}", code="unknown_kind", field="kind")
    async with parts.database.connection() as connection:
        rows = await reading.jobs(
            connection,
            tenant,
            kind=kind,
            state=None if state is None else state.value,
            parent=None if parent is None else parsed("job", parent),
            after=None if after is None else parsed("job", after),
            limit=limit + 1,
        )
        children = await reading.children(connection, [row["id"] for row in rows])
    return json(page([job_view(row, children.get(row["id"])) for row in rows], limit))


@router.get("/{id}", summary="Look at a job", response_model=JobView, responses=problems(404))
async def job(id: JobId, parts: Parts, tenant: Tenant, prefer: Prefer = None) -> Response:
    """A job; with `Prefer: wait=N`, as soon as it ends."""
    job_id = parsed("job", id)
    wait_s = preferred_wait(prefer)
    body = await view(parts, job_id, tenant)
    if wait_s and body["state"] not in TERMINAL and await parts.endings.wait(job_id, wait_s):
        body = await view(parts, job_id, tenant)
    return json(body)


@router.post(
    "/{id}/cancel",
    summary="Cancel a job and its children",
    status_code=202,
    response_model=JobView,
    responses=problems(404, 409),
)
async def cancel(id: JobId, parts: Parts, tenant: Tenant) -> Response:
    """Cancel a job and its children: what waits ends at once, what runs within seconds."""
    job_id = parsed("job", id)
    async with parts.database.connection() as connection:
        live, parents = await cancelling.cancel(connection, job_id, tenant)
        # After the commit, as every fan-in: of two children that end together the later must see both.
        await moves.resume_parents(connection, sorted(parents))
    body = await view(parts, job_id, tenant)
    if not live:
        raise Conflict(f"the job has ended already: it {body['state']}", code="job_ended", field="id")
    return json(body, 202)


@router.get(
    "/{id}/events",
    summary="Follow the events of a job",
    response_class=EventSourceResponse,
    responses={200: {"description": "The events.", "content": {"text/event-stream": {}}}, **problems(404, 422)},
)
async def follow(
    id: JobId,
    parts: Parts,
    tenant: Tenant,
    after: Annotated[int | None, Query(ge=-1, description="The last event seen; -1, the default: all.")] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> EventSourceResponse:
    """Server-sent events to the end of the job; `Last-Event-ID` or `after` resumes without a gap."""
    row = await _row(parts, parsed("job", id), tenant)
    if after is None:
        after = int(last_event_id) if last_event_id and re.fullmatch("[0-9]{1,20}", last_event_id) else -1
    # A larger id, which no event has, is past every end.
    return EventSourceResponse(events.stream(parts.database, row, min(after, LAST_EVENT_ID)), ping=15)


@router.get(
    "/{id}/result",
    summary="Fetch the result of a job",
    response_class=Response,
    responses={
        200: {"description": "The result.", "content": {"application/json": {}}},
        206: {"description": "A range of it."},
        **problems(404, 409, 416),
    },
)
async def result(id: JobId, parts: Parts, tenant: Tenant, range: Annotated[str | None, Header()] = None) -> Response:
    """The result as JSON; one that is stored as a file, as its bytes, with range requests."""
    row = await _row(parts, parsed("job", id), tenant)
    if row["state"] != JobState.SUCCEEDED:
        if row["state"] in TERMINAL:
            error = orjson.loads(row["error"]) if row["error"] else {"message": "no result was made"}
            raise Conflict(f"the job {row['state']}: {error['message']}", code=f"job_{row['state']}", field="id")
        raise Conflict(f"the job is {row['state']}; follow links.events", code="job_not_finished", field="id")
    found = orjson.loads(row["result"])
    if isinstance(found, dict) and set(found) == {"file"}:
        return await file_response(parts, tenant, parsed("file", found["file"]), range)
    return Response(row["result"], media_type="application/json")


async def view(parts: Services, job_id: UUID, tenant: str) -> dict[str, Any]:
    """A job of the tenant, with the counts of its children. Raises `NotFound`."""
    row = await _row(parts, job_id, tenant)
    async with parts.database.connection() as connection:
        children = await reading.children(connection, [job_id])
    return job_view(row, children.get(job_id))


async def _row(parts: Services, job_id: UUID, tenant: str) -> asyncpg.Record:
    async with parts.database.connection() as connection:
        row = await reading.job(connection, job_id, tenant)
    if row is None:
        raise NotFound(f"there is no job job_{job_id.hex}", code="job_not_found", field="id")
    return row


def preferred_wait(prefer: str | None) -> int:
    """Seconds in `Prefer: wait=N` (RFC 7240), 60 at most; 0 without one. Other preferences are ignored."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})", prefer or "", re.IGNORECASE)
    return min(int(found.group(1)), LONGEST_WAIT_S) if found else 0
