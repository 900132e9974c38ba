"""`/v1/dead`: dead letters, to read, requeue and drop."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from gateway.dead.reads import find, letters
from gateway.dead.requeue import requeue, requeue_page
from gateway.dead.views import letter_detail, letter_view
from gateway.http.answers import json, page
from gateway.http.auth import Asker
from gateway.http.bodies import JsonRoute
from gateway.http.errors import Forbidden
from gateway.http.openapi import problems
from gateway.services import Asking, ServicesDep
from infra.postgres.queries import dead_letters
from infra.postgres.queries.dead_letters import Wanted
from schemas.answers import Deleted
from schemas.dead_letters import (
    DeadLetterDetail,
    DeadLetterPage,
    LetterId,
    Many,
    ManyDropped,
    ManyRequeued,
    Requeued,
    Source,
    Word,
)
from schemas.errors import NotFound
from schemas.ids import parsed

router = APIRouter(prefix="/v1/dead", tags=["dead letters"], route_class=JsonRoute)

Id = Annotated[str, Path(description="`dead_` and 32 hex digits.")]
REQUEUED_AT_ONCE: Final = 100
DROPPED_AT_ONCE: Final = 1_000


@router.get("", summary="List dead letters", response_model=DeadLetterPage, responses=problems(403, 422, 429))
async def listing(
    services: ServicesDep,
    asking: Asking,
    kind: Word | None = None,
    reason: Word | None = None,
    source: Source | None = None,
    requeued: Annotated[bool, Query(description="Whether to list requeued ones too.")] = False,
    after: Annotated[LetterId | None, Query(description="The last id of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Dead letters, newest first, without payloads. Only operators see those of messages."""
    wanted = _wanted(asking, kind, reason, source)
    rows = await letters(services, asking, wanted, after=after, limit=limit, requeued=requeued)
    return json(page([letter_view(row) for row in rows], limit))


@router.post(
    "/requeue",
    summary="Requeue many dead letters",
    response_model=ManyRequeued,
    responses=problems(400, 403, 413, 422, 429),
)
async def requeue_many(body: Many, services: ServicesDep, asking: Asking) -> Response:
    """Requeue a page of letters, newest first; with its `after` in the next request, the next page."""
    wanted = _wanted(asking, body.kind, body.reason, body.source)
    done = await requeue_page(services, asking, wanted, after=body.after, limit=REQUEUED_AT_ONCE)
    return json(done.model_dump())


@router.post(
    "/drop", summary="Drop many dead letters", response_model=ManyDropped, responses=problems(400, 403, 413, 422, 429)
)
async def drop_many(body: Many, services: ServicesDep, asking: Asking) -> Response:
    """Drop a page of letters that were not requeued, newest first; repeat while there are more."""
    wanted = _wanted(asking, body.kind, body.reason, body.source)
    rows = await letters(services, asking, wanted, after=body.after, limit=DROPPED_AT_ONCE)
    ids = [row["id"] for row in rows[:DROPPED_AT_ONCE]]
    async with services.database.connection() as connection:
        dropped = await dead_letters.drop(connection, ids, asking.tenant, operator=asking.operator)
    return json({"dropped": dropped, "has_more": len(rows) > DROPPED_AT_ONCE})


@router.get("/{id}", summary="Look at a dead letter", response_model=DeadLetterDetail, responses=problems(404))
async def letter(id: Id, services: ServicesDep, asking: Asking) -> Response:
    """A dead letter with its payload."""
    return json(letter_detail(await find(services, parsed("dead", id), asking)))


@router.post(
    "/{id}/requeue",
    summary="Requeue a dead letter",
    status_code=202,
    response_model=Requeued,
    responses={200: {"model": Requeued, "description": "It was requeued before"}, **problems(404, 409, 429)},
)
async def requeue_one(id: Id, services: ServicesDep, asking: Asking) -> Response:
    """Submit the letter's original job again as a new job: 202 and its `Location`, or 200 when that was done before.

    All other letters of the same submitted job are requeued with it. A message's letter is read again, and the job it
    names is summoned.
    """
    outcome = await requeue(services, parsed("dead", id), asking)
    location = {} if outcome.job is None else {"Location": outcome.job["links"]["self"]}
    return json({"letter": outcome.letter, "job": outcome.job}, 202 if outcome.letters else 200, location)


@router.delete("/{id}", summary="Drop a dead letter", response_model=Deleted, responses=problems(404))
async def drop(id: Id, services: ServicesDep, asking: Asking) -> Response:
    """Drop a dead letter; its job stays, failed."""
    letter_id = parsed("dead", id)
    async with services.database.connection() as connection:
        dropped = await dead_letters.drop(connection, [letter_id], asking.tenant, operator=asking.operator)
    if not dropped:
        raise NotFound(f"there is no dead letter {id}", code="dead_letter_not_found", field="id")
    return json({"id": id, "object": "dead_letter", "deleted": True})


def _wanted(asking: Asker, kind: str | None, reason: str | None, source: Source | None) -> Wanted:
    if source is Source.MESSAGE and not asking.operator:
        raise Forbidden("dead letters of messages belong to no tenant: they are for operators", field="source")
    return Wanted(kind, reason, None if source is None else source.value)
