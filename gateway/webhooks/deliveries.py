"""`/v1/webhooks/deliveries`: what was sent to receivers, how they answered, and replays."""

from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Path, Query, Response

from gateway.http.answers import json, page
from gateway.http.bodies import JsonRoute
from gateway.http.openapi import problems
from gateway.services import Services, ServicesDep, Tenant
from gateway.webhooks.endpoints import EndpointId, known
from gateway.webhooks.views import delivery_log, delivery_view
from infra.postgres.queries import webhooks
from schemas.errors import Conflict, NotFound
from schemas.ids import parsed, pattern, shown
from schemas.webhooks import (
    REPLAY_AT_MOST,
    DeliveryLog,
    DeliveryPage,
    DeliveryState,
    DeliveryView,
    Replay,
    Replayed,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=JsonRoute)

DeliveryId = Annotated[str, Path(description="`evt_` and 32 hex digits: the `webhook-id` that receivers see.")]
After = Annotated[str | None, Query(pattern=pattern("evt"), description="The last id of the page before.")]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/deliveries", summary="List deliveries", response_model=DeliveryPage, responses=problems(422, 429))
async def deliveries(
    services: ServicesDep,
    tenant: Tenant,
    state: DeliveryState | None = None,
    job: Annotated[str | None, Query(pattern=pattern("job"))] = None,
    after: After = None,
    limit: Limit = 20,
) -> Response:
    """Deliveries that were sent, are waiting or failed, newest first, to endpoints and to jobs' own receivers."""
    async with services.reads.connection(tenant) as connection:
        rows = await webhooks.deliveries(
            connection,
            tenant,
            job=None if job is None else parsed("job", job),
            state=None if state is None else state.value,
            after=None if after is None else parsed("evt", after),
            limit=limit + 1,
        )
    return json(page([delivery_view(row) for row in rows], limit))


@router.get("/deliveries/{id}", summary="Look at a delivery", response_model=DeliveryLog, responses=problems(404))
async def delivery(id: DeliveryId, services: ServicesDep, tenant: Tenant) -> Response:
    """A delivery with each attempt and the receiver's answer."""
    row = await _delivery(services, parsed("evt", id), tenant)
    async with services.database.connection() as connection:
        attempts = await webhooks.attempts(connection, row["id"])
    return json(delivery_log(row, attempts))


@router.post(
    "/deliveries/{id}/replay",
    summary="Send a delivery again",
    status_code=202,
    response_model=DeliveryLog,
    responses=problems(404, 409),
)
async def replay(id: DeliveryId, services: ServicesDep, tenant: Tenant) -> Response:
    """Send it again now, under the same id and with the whole schedule of retries, whatever its state."""
    delivery_id = parsed("evt", id)
    async with services.database.connection() as connection:
        replayed = await webhooks.replay(connection, delivery_id, tenant)
        attempts = await webhooks.attempts(connection, delivery_id) if replayed else []
    row = await _delivery(services, delivery_id, tenant)
    if not replayed:
        raise _disabled()
    return json(delivery_log(row, attempts), 202)


@router.get(
    "/{id}/deliveries",
    summary="List the deliveries of an endpoint",
    response_model=DeliveryPage,
    responses=problems(404, 422, 429),
)
async def deliveries_of_endpoint(
    id: EndpointId,
    services: ServicesDep,
    tenant: Tenant,
    state: DeliveryState | None = None,
    after: After = None,
    limit: Limit = 20,
) -> Response:
    """The deliveries of one endpoint, newest first."""
    row = await known(services, parsed("wh", id), tenant)
    async with services.reads.connection(tenant) as connection:
        rows = await webhooks.deliveries_of_endpoint(
            connection,
            tenant,
            row["id"],
            state=None if state is None else state.value,
            after=None if after is None else parsed("evt", after),
            limit=limit + 1,
        )
    return json(page([delivery_view(row) for row in rows], limit))


@router.post(
    "/{id}/replay",
    summary="Send the failed deliveries of an endpoint again",
    status_code=202,
    response_model=Replayed,
    responses=problems(400, 404, 409, 413, 422),
)
async def replay_failed(id: EndpointId, body: Replay, services: ServicesDep, tenant: Tenant) -> Response:
    """Send failed events since then again, the oldest first, at most 1,000 per call."""
    row = await _enabled(services, parsed("wh", id), tenant)
    async with services.database.connection() as connection:
        count = await webhooks.replay_failed(connection, row["id"], tenant, body.since)
    return json({"object": "webhook_replay", "replayed": count, "has_more": count == REPLAY_AT_MOST}, 202)


@router.post(
    "/{id}/test",
    summary="Send a test event to an endpoint",
    status_code=202,
    response_model=DeliveryView,
    responses=problems(404, 409),
)
async def send_test(id: EndpointId, services: ServicesDep, tenant: Tenant) -> Response:
    """Send an event of type `webhook.test`, signed and retried as any other."""
    endpoint_id = parsed("wh", id)
    async with services.database.connection() as connection:
        delivery_id = await webhooks.send_test(connection, endpoint_id, tenant)
    if delivery_id is None:
        await known(services, endpoint_id, tenant)
        raise _disabled()
    row = await _delivery(services, delivery_id, tenant)
    return json(delivery_view(row), 202, {"Location": f"/v1/webhooks/deliveries/{shown('evt', delivery_id)}"})


async def _enabled(services: Services, id: UUID, tenant: str) -> asyncpg.Record:
    row = await known(services, id, tenant)
    if row["disabled_at"] is not None:
        raise _disabled()
    return row


async def _delivery(services: Services, id: UUID, tenant: str) -> asyncpg.Record:
    async with services.database.connection() as connection:
        row = await webhooks.delivery(connection, id, tenant)
    if row is None:
        raise NotFound(f"there is no delivery {shown('evt', id)}", code="delivery_not_found", field="id")
    return row


def _disabled() -> Conflict:
    return Conflict(
        "the endpoint is disabled: enable it first, with PATCH /v1/webhooks/{id} and `enabled: true`",
        code="endpoint_disabled",
        field="id",
    )
