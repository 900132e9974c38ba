"""`/v1/jobs`: submit, read, list, cancel, follow, and fetch results."""

import re
from typing import Annotated, Final, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import WithJsonSchema
from sse_starlette import EventSourceResponse

from gateway.files.content import Conditions, file_response
from gateway.http.answers import json, page
from gateway.http.bodies import JsonRoute
from gateway.http.heads import is_head
from gateway.http.limits import TooManyStreams
from gateway.http.openapi import problems
from gateway.jobs.cancelling import cancel_abandoned, cancel_tree
from gateway.jobs.events import EventsResponse, EventStream
from gateway.jobs.reads import job_of, row_of
from gateway.jobs.submission import SubmitRoute
from gateway.jobs.views import job_view
from gateway.services import Services, ServicesDep, Tenant
from infra.postgres.queries import listing, reading
from schemas.errors import Conflict, InvalidInput
from schemas.ids import parsed, pattern
from schemas.jobs import JobPage, JobView, SubmitJob
from schemas.kinds.registry import KINDS
from schemas.lifecycle import TERMINAL, JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=JsonRoute)

LONGEST_WAIT_S: Final = 60
LAST_EVENT_ID: Final = 2**63 - 1
JobId = Annotated[str, Path(description="`job_` and 32 hex digits.")]
KindName = Annotated[str, WithJsonSchema({"type": "string", "enum": list(KINDS)})]
Prefer = Annotated[str | None, Header(description="`wait=N`: answer when the job ends, after N <= 60 s at the latest.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="The same key and body return the first job, as long as it is kept.",
    ),
]


async def _body(request: Request) -> bytes:
    return await request.body()


async def submit(
    body: SubmitJob,
    services: ServicesDep,
    tenant: Tenant,
    sent: Annotated[bytes, Depends(_body)],
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
    traceparent: Annotated[str | None, Header(description="W3C Trace Context.")] = None,
) -> Response:
    """Accept a job: 202 and its `Location`. 200 when its idempotency key made it before, or when it ended in `wait`."""
    wait_s = preferred_wait(prefer)
    if idempotency_key is not None and not (0 < len(idempotency_key) < 256 and idempotency_key.isprintable()):
        raise InvalidInput("give 1 to 255 printable characters", field="Idempotency-Key")
    accepted = await services.submitter.submit(
        tenant, body, idempotency_key=idempotency_key, sent=sent, traceparent=traceparent
    )
    location = {"Location": accepted.view["links"]["self"]}
    if wait_s and await _ended_within(wait_s, accepted.id, services, tenant):
        return json(
            await job_of(services, accepted.id, tenant), 200, location | {"Preference-Applied": f"wait={wait_s}"}
        )
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


@router.get("", summary="List jobs", response_model=JobPage, responses=problems(422, 429))
async def jobs(
    services: ServicesDep,
    tenant: Tenant,
    kind: KindName | None = None,
    state: JobState | None = None,
    parent: Annotated[str | None, Query(pattern=pattern("job"))] = None,
    after: Annotated[str | None, Query(pattern=pattern("job"), description="The last id of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Jobs, newest first; children appear only with `parent`."""
    if kind is not None and kind not in KINDS:
        raise InvalidInput(f"unknown kind {kind!r}: one of {', '.join(KINDS)}", code="unknown_kind", field="kind")
    async with services.reads.connection(tenant) as connection:
        rows = await listing.jobs(
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
async def job(id: JobId, services: ServicesDep, tenant: Tenant, prefer: Prefer = None) -> Response:
    """A job; with `Prefer: wait=N`, as soon as it ends."""
    job_id = parsed("job", id)
    wait_s = preferred_wait(prefer)
    body = await job_of(services, job_id, tenant)
    if wait_s and body["state"] not in TERMINAL and await _ended_within(wait_s, job_id, services, tenant):
        body = await job_of(services, job_id, tenant)
    return json(body)


@router.post(
    "/{id}/cancel",
    summary="Cancel a job and its children",
    status_code=202,
    response_model=JobView,
    responses=problems(404, 409),
)
async def cancel(id: JobId, services: ServicesDep, tenant: Tenant) -> Response:
    """Cancel a job and its children: waiting jobs end at once, running ones within seconds."""
    job_id = parsed("job", id)
    live = await cancel_tree(services.database, job_id, tenant)
    body = await job_of(services, job_id, tenant)
    if not live:
        raise Conflict(f"the job has ended already: it {body['state']}", code="job_ended", field="id")
    return json(body, 202)


@router.get(
    "/{id}/events",
    summary="Follow the events of a job",
    response_class=EventSourceResponse,
    responses={200: {"description": "The events.", "content": {"text/event-stream": {}}}, **problems(404, 422, 429)},
)
async def follow(
    id: JobId,
    services: ServicesDep,
    tenant: Tenant,
    request: Request,
    after: Annotated[int | None, Query(ge=-1, description="The last event seen; -1, the default: all.")] = None,
    on_disconnect: Annotated[
        Literal["continue", "cancel"],
        Query(description="What becomes of the job when this connection closes before it ends, whoever closed it."),
    ] = "continue",
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Server-sent events to the end of the job; `Last-Event-ID` or `after` resumes without a gap."""
    row = await row_of(services, parsed("job", id), tenant)
    if after is None:
        after = int(last_event_id) if last_event_id and re.fullmatch("[0-9]{1,20}", last_event_id) else -1
    if is_head(request):
        return Response(media_type="text/event-stream")

    async def known() -> str:
        return await services.keys.tenant(request.headers.get("authorization"))

    # A larger id belongs to no event and is past every end.
    stream = EventStream(services.feed, row, min(after, LAST_EVENT_ID), known)

    async def left(_: object) -> None:
        if on_disconnect == "cancel" and not stream.over:
            await cancel_abandoned(services.database, row["id"], tenant)

    return EventsResponse(stream, services.limits, tenant, left=left)


@router.get(
    "/{id}/result",
    summary="Fetch the result of a job",
    response_class=Response,
    responses={
        200: {"description": "The result.", "content": {"application/json": {}}},
        206: {"description": "A range of it."},
        304: {"description": "The client has it already."},
        **problems(404, 409, 412, 416),
    },
)
async def result(
    id: JobId, services: ServicesDep, tenant: Tenant, request: Request, conditions: Annotated[Conditions, Header()]
) -> Response:
    """The result as JSON; a result stored as a file comes as bytes, with range requests."""
    row = await row_of(services, parsed("job", id), tenant)
    if row["state"] != JobState.SUCCEEDED:
        if row["state"] in TERMINAL:
            error = orjson.loads(row["error"]) if row["error"] else {"message": "no result was made"}
            raise Conflict(f"the job {row['state']}: {error['message']}", code=f"job_{row['state']}", field="id")
        raise Conflict(f"the job is {row['state']}; follow links.events", code="job_not_finished", field="id")
    found = orjson.loads(row["result"])
    if isinstance(found, dict) and set(found) == {"file"}:
        return await file_response(services, tenant, parsed("file", found["file"]), conditions, head=is_head(request))
    return Response(row["result"], media_type="application/json")


async def _ended_within(wait_s: int, job_id: UUID, services: Services, tenant: str) -> bool:
    """Whether a job ended in this time. A tenant with too many waits is answered at once: a wait is a preference."""
    try:
        with services.limits.stream(tenant):
            return await services.endings.wait(job_id, wait_s)
    except TooManyStreams:
        return False


def preferred_wait(prefer: str | None) -> int:
    """Seconds in `Prefer: wait=N` (RFC 7240), 60 at most; 0 without one. Other preferences are ignored."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})", prefer or "", re.IGNORECASE)
    return min(int(found.group(1)), LONGEST_WAIT_S) if found else 0
