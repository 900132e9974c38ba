"""Owners steer running jobs: pause and resume them, weigh, limit and re-time their children, each with one update."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastapi import APIRouter, Response

from gateway.http.answers import json
from gateway.http.auth import Asker
from gateway.http.bodies import JsonRoute
from gateway.http.openapi import problems
from gateway.jobs.reads import job_of, row_of
from gateway.jobs.routes import JobId
from gateway.services import Asking, Services, ServicesDep
from infra.postgres.queries import steering
from schemas.errors import Conflict
from schemas.ids import parsed
from schemas.jobs import JobView
from schemas.kinds.kind import Kind
from schemas.kinds.registry import KINDS
from schemas.lifecycle import TERMINAL
from schemas.steering import Steering, Why

if TYPE_CHECKING:
    from infra.postgres.database import Connection

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=JsonRoute)


@router.post(
    "/{id}/pause",
    summary="Pause a job",
    response_model=JobView,
    responses=problems(400, 404, 409, 413, 422),
)
async def pause(id: JobId, services: ServicesDep, asking: Asking, body: Why | None = None) -> Response:
    """Begin no more of the job's children in the lane `bulk`; those that run end. A training saves a checkpoint and
    leaves its worker. A paused job stays so.
    """
    return json(await paused(services, parsed("job", id), asking, body or Why()))


@router.post(
    "/{id}/resume",
    summary="Go on with a paused job",
    response_model=JobView,
    responses=problems(400, 404, 409, 413, 422),
)
async def resume(id: JobId, services: ServicesDep, asking: Asking, body: Why | None = None) -> Response:
    """Take the job's children up again; a training goes on from its checkpoint. A job that is not paused stays as it
    is.
    """
    return json(await resumed(services, parsed("job", id), asking, body or Why()))


@router.patch(
    "/{id}",
    summary="Weigh, limit or re-time the children of a job",
    response_model=JobView,
    responses=problems(400, 404, 409, 413, 422),
)
async def steer(id: JobId, body: Steering, services: ServicesDep, asking: Asking) -> Response:
    """Change how the job's children in the lane `bulk` are taken up, from now on."""
    return json(await steered(services, parsed("job", id), asking, body))


async def paused(services: Services, job_id: UUID, asking: Asker, why: Why) -> dict[str, Any]:
    """Pause a job; its view. Raises `NotFound`, and `Conflict` for one that has ended or cannot be paused."""
    told = _told(asking, why)
    await _check_pauses(services, job_id, asking)
    return await _changed(services, job_id, asking, lambda c: steering.pause(c, job_id, asking.tenant, told))


async def resumed(services: Services, job_id: UUID, asking: Asker, why: Why) -> dict[str, Any]:
    """Let a job go on; its view. Raises as `paused` does."""
    told = _told(asking, why)
    await _check_pauses(services, job_id, asking)
    return await _changed(services, job_id, asking, lambda c: steering.resume(c, job_id, asking.tenant, told))


async def steered(services: Services, job_id: UUID, asking: Asker, wanted: Steering) -> dict[str, Any]:
    """Change what is given; the job's view. Raises `NotFound`, and `Conflict` for one that has ended or never has
    children.
    """
    kind = await _kind(services, job_id, asking)
    if kind is None or not kind.children:
        raise Conflict("a job of this kind has no children to steer", code="job_has_no_children", field="id")
    given = wanted.model_dump(exclude_unset=True, exclude={"reason"})
    told = _told(asking, wanted) | wanted.model_dump(mode="json", exclude_unset=True, exclude={"reason"})
    return await _changed(services, job_id, asking, lambda c: steering.steer(c, job_id, asking.tenant, given, told))


async def _changed(
    services: Services, job_id: UUID, asking: Asker, write: "Callable[[Connection], Awaitable[None]]"
) -> dict[str, Any]:
    async with services.database.unit_of_work() as connection:
        await write(connection)
    if services.agents is not None:
        services.agents.wake(bulk=True)
    view = await job_of(services, job_id, asking.tenant)
    if view["state"] in TERMINAL:
        raise Conflict(f"the job has ended already: it {view['state']}", code="job_ended", field="id")
    return view


async def _check_pauses(services: Services, job_id: UUID, asking: Asker) -> None:
    kind = await _kind(services, job_id, asking)
    if kind is None or not kind.pauses:
        why = "a job of this kind cannot be paused: it has no children, and none of its stages takes long enough"
        raise Conflict(why, code="job_has_no_children", field="id")


async def _kind(services: Services, job_id: UUID, asking: Asker) -> Kind | None:
    return KINDS.get((await row_of(services, job_id, asking.tenant))["kind"])


def _told(asking: Asker, why: Why) -> dict[str, Any]:
    """What the event says: who, by the name of the key, and why."""
    return {"by": asking.name, "reason": why.reason}
