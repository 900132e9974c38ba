"""The same for batches: their lines are the children of their job."""

from fastapi import APIRouter, Response

from gateway.batches.reads import batch_of
from gateway.batches.routes import Id
from gateway.http.answers import json
from gateway.http.bodies import JsonRoute
from gateway.http.openapi import problems
from gateway.jobs.steering import paused, resumed, steered
from gateway.services import Asking, ServicesDep
from schemas.batches.views import BatchView
from schemas.ids import parsed
from schemas.steering import Steering, Why

router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=JsonRoute)


@router.post(
    "/{id}/pause", summary="Pause a batch", response_model=BatchView, responses=problems(400, 404, 409, 413, 422)
)
async def pause(id: Id, services: ServicesDep, asking: Asking, body: Why | None = None) -> Response:
    """Begin no more lines. Those that run end. The completion window goes on."""
    job_id = parsed("batch", id)
    await batch_of(services, job_id, asking.tenant)
    await paused(services, job_id, asking, body or Why())
    return json(await batch_of(services, job_id, asking.tenant))


@router.post(
    "/{id}/resume", summary="Resume a batch", response_model=BatchView, responses=problems(400, 404, 409, 413, 422)
)
async def resume(id: Id, services: ServicesDep, asking: Asking, body: Why | None = None) -> Response:
    """Go on with the lines of a paused batch."""
    job_id = parsed("batch", id)
    await batch_of(services, job_id, asking.tenant)
    await resumed(services, job_id, asking, body or Why())
    return json(await batch_of(services, job_id, asking.tenant))


@router.patch(
    "/{id}",
    summary="Weigh, limit or re-time a batch",
    response_model=BatchView,
    responses=problems(400, 404, 409, 413, 422),
)
async def steer(id: Id, body: Steering, services: ServicesDep, asking: Asking) -> Response:
    """Change how the batch's lines are taken up, from now on. `deadline` does not move the completion window."""
    job_id = parsed("batch", id)
    await batch_of(services, job_id, asking.tenant)
    await steered(services, job_id, asking, body)
    return json(await batch_of(services, job_id, asking.tenant))
