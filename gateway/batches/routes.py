"""`/v1/batches`, by OpenAI's contract; results at any moment and another try of what failed are ours."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.batches.reads import KIND, batch_of, page
from gateway.batches.views import batch_page
from gateway.files.content import file_bytes
from gateway.http.answers import json
from gateway.http.bodies import JsonRoute
from gateway.http.heads import is_head
from gateway.http.openapi import problems
from gateway.jobs.cancelling import cancel_tree
from gateway.services import Services, ServicesDep, Tenant
from infra.postgres.batches import PostgresBatches
from infra.postgres.queries import batches, files
from schemas.batches.output import output
from schemas.batches.views import LISTED_AT_MOST, BatchPage, BatchView, NewBatch
from schemas.batches.window import window
from schemas.errors import Conflict, InvalidInput
from schemas.ids import parsed, pattern
from schemas.jobs import Submission
from schemas.kinds.batch import BatchInput
from schemas.lifecycle import JobState

router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=JsonRoute)

Id = Annotated[str, Path(description="`batch_` and 32 hex digits.")]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="The same key and body return the first batch."),
]
LIVE: Final = ("validating", "in_progress", "finalizing", "cancelling")
ENDED: Final = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@router.post(
    "",
    summary="Make a batch",
    response_model=BatchView,
    responses=problems(400, 409, 413, 422, 429),
)
async def create(
    body: NewBatch,
    request: Request,
    services: ServicesDep,
    tenant: Tenant,
    idempotency_key: IdempotencyKey = None,
    traceparent: Annotated[str | None, Header(description="W3C Trace Context.")] = None,
) -> Response:
    """Make a batch of the requests in a file: each line is checked, then each becomes a job."""
    await _require_input(services, tenant, body.input_file_id)
    given = BatchInput(
        input_file_id=body.input_file_id,
        endpoint=body.endpoint,
        completion_window=body.completion_window,
        output_lives_s=body.output_expires_after.seconds if body.output_expires_after else None,
    )
    submission = _submission(given, metadata=body.metadata or {}, webhook=body.webhook)
    await services.limits.submission(tenant)
    accepted = await services.submitter.submit(
        tenant,
        submission,
        idempotency_key=idempotency_key,
        sent=await request.body(),
        traceparent=traceparent,
    )
    view = await batch_of(services, accepted.id, tenant)
    return json(view, 200, {"Location": f"/v1/batches/{view['id']}"})


@router.get("", summary="List batches", response_model=BatchPage, responses=problems(422, 429))
async def listing(
    services: ServicesDep,
    tenant: Tenant,
    after: Annotated[str | None, Query(pattern=pattern("batch"), description="The last id of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=LISTED_AT_MOST)] = 20,
) -> Response:
    """Batches, newest first."""
    views = await page(services, tenant, after=None if after is None else parsed("batch", after), limit=limit)
    return json(batch_page(views, limit))


@router.get("/{id}", summary="Look at a batch", response_model=BatchView, responses=problems(404))
async def batch(id: Id, services: ServicesDep, tenant: Tenant) -> Response:
    """A batch; its counts are those of this moment."""
    return json(await batch_of(services, parsed("batch", id), tenant))


@router.post("/{id}/cancel", summary="Cancel a batch", response_model=BatchView, responses=problems(404, 409))
async def cancel(id: Id, services: ServicesDep, tenant: Tenant) -> Response:
    """Cancel what is not done. What is done stays, in the files that the batch still writes.

    A batch whose lines are still being checked ends without files.
    """
    job_id = parsed("batch", id)
    view = await batch_of(services, job_id, tenant)
    if view["status"] in ("validating", "in_progress", "cancelling"):
        async with services.database.connection() as connection:
            closed = await batches.close(connection, job_id, tenant)
        if not closed and (await batch_of(services, job_id, tenant))["status"] == "validating":
            await cancel_tree(services.database, job_id, tenant)
        view = await batch_of(services, job_id, tenant)
        if view["status"] in ("cancelling", "cancelled"):
            return json(view)
    raise Conflict(f"the batch is {view['status']}: nothing is left to cancel", code="batch_ended", field="id")


@router.post(
    "/{id}/retry_failed",
    summary="Do again what failed",
    response_model=BatchView,
    responses=problems(404, 409, 429),
)
async def retry_failed(
    id: Id, services: ServicesDep, tenant: Tenant, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a new batch of the lines that failed or were cut off in one that has ended."""
    view = await batch_of(services, parsed("batch", id), tenant)
    if view["status"] in LIVE:
        raise Conflict(f"the batch is {view['status']}: wait for its end, or cancel it", code="batch_live", field="id")
    if not view["request_counts"]["failed"]:
        raise Conflict("no line of the batch is to be done again", code="nothing_failed", field="id")
    async with services.database.connection() as connection:
        own = (await batches.batches(connection, [parsed("batch", id)]))[parsed("batch", id)]
    given = BatchInput.model_validate({**orjson.loads(own["input"]), "retry_of": view["id"]})
    submission = _submission(given, metadata=view["metadata"] or {})
    await services.limits.submission(tenant)
    accepted = await services.submitter.submit(
        tenant, submission, idempotency_key=idempotency_key, sent=given.model_dump_json().encode()
    )
    made = await batch_of(services, accepted.id, tenant)
    return json(made, 200, {"Location": f"/v1/batches/{made['id']}"})


@router.get(
    "/{id}/results",
    summary="Fetch the results there are",
    response_class=Response,
    responses={200: {"description": "One line each.", "content": {"application/jsonl": {}}}, **problems(404)},
)
async def results(id: Id, services: ServicesDep, tenant: Tenant, request: Request) -> Response:
    """What has become of the lines that have ended so far, in the form of the output and error files."""
    job_id = parsed("batch", id)
    view = await batch_of(services, job_id, tenant)
    async with services.database.connection() as connection:
        closing = (await batches.batches(connection, [job_id]))[job_id]["closing"]

    async def content(file_id: str) -> bytes:
        return await file_bytes(services, tenant, parsed("file", file_id))

    ends = PostgresBatches(services.database).ends(job_id, *ENDED)
    body = _nothing() if is_head(request) else output(ends, view["endpoint"], closing, content)
    return StreamingResponse(body, media_type="application/jsonl")


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _submission(given: BatchInput, **more: object) -> Submission:
    """The batch as a job. Until its lines are checked, its window is the job's own."""
    seconds = window(given.completion_window).total_seconds()
    return Submission.model_validate({"kind": KIND, "input": given, "expires_in_s": seconds, **more})


async def _require_input(services: Services, tenant: str, file_id: str) -> None:
    async with services.database.connection() as connection:
        row = await files.file(connection, parsed("file", file_id), tenant)
    if row is None:
        raise InvalidInput(f"there is no file {file_id}", code="file_not_found", field="input_file_id")
    if row["purpose"] != KIND:
        why = f"the file's purpose is {row['purpose']!r}: upload it with `batch`"
        raise InvalidInput(why, code="wrong_purpose", field="input_file_id")
