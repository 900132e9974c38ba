"""`/v1/webhooks`: endpoints and the secrets that sign for them."""

from typing import Annotated
from uuid import UUID

import asyncpg
import uuid_utils.compat as uuids
from fastapi import APIRouter, Path, Response

from gateway.http.answers import json
from gateway.http.bodies import JsonRoute
from gateway.http.openapi import problems
from gateway.services import Services, ServicesDep, Tenant
from gateway.webhooks.views import endpoint_view
from infra.postgres.queries import webhooks
from infra.webhooks.signing import new_secret
from schemas.answers import Deleted
from schemas.errors import Conflict, NotFound
from schemas.ids import parsed, shown
from schemas.webhooks import (
    MAX_ENDPOINTS,
    EndpointChange,
    EndpointCreated,
    EndpointList,
    EndpointView,
    NewEndpoint,
    Rotation,
    SecretView,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=JsonRoute)

EndpointId = Annotated[str, Path(description="`wh_` and 32 hex digits.")]


@router.post(
    "",
    summary="Add an endpoint",
    status_code=201,
    response_model=EndpointCreated,
    responses=problems(400, 409, 413, 422),
)
async def add(body: NewEndpoint, services: ServicesDep, tenant: Tenant) -> Response:
    """A receiver that is notified of the ends of all the tenant's jobs. Only this answer holds its secret."""
    url = services.receivers.checked(body.url)
    secret = new_secret()
    async with services.database.unit_of_work() as connection:
        row = await webhooks.add_endpoint(
            connection,
            uuids.uuid7(),
            tenant,
            url=url,
            description=body.description,
            events=body.events,
            secret=secret,
        )
    if row is None:
        raise Conflict(f"there are {MAX_ENDPOINTS} endpoints already: remove one", code="too_many_endpoints")
    view = endpoint_view(row)
    return json({**view, "secret": secret}, 201, {"Location": f"/v1/webhooks/{view['id']}"})


@router.get("", summary="List endpoints", response_model=EndpointList, responses=problems())
async def endpoints(services: ServicesDep, tenant: Tenant) -> Response:
    """The tenant's endpoints, newest first."""
    async with services.database.connection() as connection:
        rows = await webhooks.endpoints(connection, tenant)
    return json({"data": [endpoint_view(row) for row in rows]})


@router.post(
    "/secret",
    summary="Make a new signing secret for jobs' own receivers",
    response_model=SecretView,
    responses=problems(400, 413, 422),
)
async def secret(services: ServicesDep, tenant: Tenant, body: Rotation | None = None) -> Response:
    """The secret that signs for receivers named by jobs. The former one signs beside it for `overlap_s`."""
    made = new_secret()
    async with services.database.connection() as connection:
        until = await webhooks.rotate_tenants(connection, tenant, secret=made, overlap_s=(body or Rotation()).overlap_s)
    return json({"object": "webhook_secret", "secret": made, "previous_until": until})


@router.get("/{id}", summary="Look at an endpoint", response_model=EndpointView, responses=problems(404))
async def endpoint(id: EndpointId, services: ServicesDep, tenant: Tenant) -> Response:
    """An endpoint; its secret is not shown."""
    return json(endpoint_view(await known(services, parsed("wh", id), tenant)))


@router.patch(
    "/{id}",
    summary="Change, disable or enable an endpoint",
    response_model=EndpointView,
    responses=problems(400, 404, 413, 422),
)
async def change(id: EndpointId, body: EndpointChange, services: ServicesDep, tenant: Tenant) -> Response:
    """Change the given fields.

    `enabled: true` forgives its failures; deliveries that failed meanwhile can be replayed.
    """
    endpoint_id = parsed("wh", id)
    if body.url is not None:
        body.url = services.receivers.checked(body.url)
    async with services.database.connection() as connection:
        row = await webhooks.change_endpoint(connection, endpoint_id, tenant, **body.model_dump())
    return json(endpoint_view(_found(row, endpoint_id)))


@router.delete("/{id}", summary="Remove an endpoint", response_model=Deleted, responses=problems(404))
async def remove(id: EndpointId, services: ServicesDep, tenant: Tenant) -> Response:
    """Remove an endpoint with its deliveries and their log."""
    endpoint_id = parsed("wh", id)
    async with services.database.connection() as connection:
        if not await webhooks.remove_endpoint(connection, endpoint_id, tenant):
            raise _unknown(endpoint_id)
    return json({"id": id, "object": "webhook_endpoint", "deleted": True})


@router.post(
    "/{id}/rotate",
    summary="Make a new secret for an endpoint",
    response_model=SecretView,
    responses=problems(400, 404, 413, 422),
)
async def rotate(id: EndpointId, services: ServicesDep, tenant: Tenant, body: Rotation | None = None) -> Response:
    """A new secret, shown here only. The former one signs beside it for `overlap_s`; an older one no longer does."""
    endpoint_id = parsed("wh", id)
    made = new_secret()
    async with services.database.connection() as connection:
        row = await webhooks.rotate(
            connection, endpoint_id, tenant, secret=made, overlap_s=(body or Rotation()).overlap_s
        )
    until = _found(row, endpoint_id)["previous_until"]
    return json({"object": "webhook_secret", "secret": made, "previous_until": until})


async def known(services: Services, id: UUID, tenant: str) -> asyncpg.Record:
    """The row of an endpoint. Raises `NotFound`."""
    async with services.database.connection() as connection:
        return _found(await webhooks.endpoint(connection, id, tenant), id)


def _found(row: asyncpg.Record | None, id: UUID) -> asyncpg.Record:
    if row is None:
        raise _unknown(id)
    return row


def _unknown(id: UUID) -> NotFound:
    return NotFound(f"there is no webhook endpoint {shown('wh', id)}", code="webhook_not_found", field="id")
