"""Owners steer running parents: pause, resume, weigh, limit and re-time them, each with one update."""

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
from schemas.kinds.registry import KINDS
from schemas.lifecycle import TERMINAL
from schemas.steering import Steering, Why

if TYPE_CHECKING:
    from infra.postgres.database import Connection

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=JsonRoute)


@router.post(
    "/{id}/pause",
    summary="Pause the children of a job",
    response_model=JobView,
    responses=problems(400, 404, 409, 413, 422),
)
async def pause(id: JobId, services: ServicesDep, asking: Asking, body: Why | None = None) -> Response:
    """Begin no more of the job's children in the lane `bulk`. What runs ends. A paused job stays so."""
    return json(await paused(services, parsed("job", id), asking, body or Why()))


@router.post(
    "/{id}/resume",
    summary="Go on with the children of a paused job",
    response_model=JobView,
    responses=problems(400, 404, 409, 413, 422),
)
async def resume(id: JobId, services: ServicesDep, asking: Asking, body: Why | None = None) -> Response:
    """Take the job's children up again. A job that is not paused stays as it is."""
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
    """Pause a job; its view. Raises `NotFound`, and `Conflict` for one that has ended or never has children."""
    told = _told(asking, why)
    return await _changed(services, job_id, asking, lambda c: steering.pause(c, job_id, asking.tenant, told))


async def resumed(services: Services, job_id: UUID, asking: Asker, why: Why) -> dict[str, Any]:
    """Let a job go on; its view. Raises as `paused` does."""
    told = _told(asking, why)
    return await _changed(services, job_id, asking, lambda c: steering.resume(c, job_id, asking.tenant, told))


async def steered(services: Services, job_id: UUID, asking: Asker, wanted: Steering) -> dict[str, Any]:
    """Change what is given; the job's view. Raises as `paused` does."""
    given = wanted.model_dump(exclude_unset=True, exclude={"reason"})
    told = _told(asking, wanted) | wanted.model_dump(mode="json", exclude_unset=True, exclude={"reason"})
    return await _changed(services, job_id, asking, lambda c: steering.steer(c, job_id, asking.tenant, given, told))


async def _changed(
    services: Services, job_id: UUID, asking: Asker, write: "Callable[[Connection], Awaitable[None]]"
) -> dict[str, Any]:
    row = await row_of(services, job_id, asking.tenant)
    kind = KINDS.get(row["kind"])
    if kind is None or not kind.children:
        why = f"a job of kind {row['kind']!r} has no children to steer"
        raise Conflict(why, code="job_has_no_children", field="id")
    async with services.database.unit_of_work() as connection:
        await write(connection)
    view = await job_of(services, job_id, asking.tenant)
    if view["state"] in TERMINAL:
        raise Conflict(f"the job has ended already: it {view['state']}", code="job_ended", field="id")
    return view


def _told(asking: Asker, why: Why) -> dict[str, Any]:
    """What the event says: who, by the name of the key, and why."""
    return {"by": asking.name, "reason": why.reason}
