"""Requeues dead letters."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson
import uuid_utils.compat as uuids
from pydantic import ValidationError

from gateway.dead.reads import find_on, letters
from gateway.dead.views import job_id, letter_view
from gateway.http.auth import Asker
from gateway.http.errors import LimitReached
from gateway.http.rows import Row
from gateway.jobs.views import job_view
from gateway.services import Services
from infra.metrics import SUBMITTED
from infra.postgres.queries import dead_letters, reading
from infra.postgres.queries.dead_letters import Wanted
from infra.telemetry import current_traceparent
from schemas.dead_letters import ManyRequeued, Refused, Source
from schemas.errors import Conflict, NotFound
from schemas.ids import shown
from schemas.kinds.registry import first_stages
from schemas.lifecycle import LIVE
from schemas.messages import Summons

if TYPE_CHECKING:
    from infra.postgres.database import Connection

HARMLESS: Final = "no job loses anything by it, for queued jobs are summoned again; drop the letter"


@dataclass(frozen=True, slots=True)
class Requeueing:
    """A requeued letter and its new `job`. `letters`: how many this request requeued; 0 when an earlier request did.

    `job` is None where it belongs to another tenant, as that of a message may.
    """

    letter: dict[str, Any]
    job: dict[str, Any] | None
    letters: int


async def requeue(services: Services, letter_id: UUID, asking: Asker) -> Requeueing:
    """Requeue a letter; one that was requeued before gives the same job again.

    Raises `NotFound`, `LimitReached` of submissions, and `Conflict` with the reason why it cannot be requeued.
    """
    async with services.database.connection() as connection:
        row = await find_on(connection, letter_id, asking)
        if row["requeued_at"] is not None:
            return await _before(connection, row, asking)
        if row["source"] == Source.JOB:
            await services.limits.submission(asking.tenant)
            letters = await _requeue_job(connection, row, asking)
        else:
            letters = await _requeue_message(connection, row, asking)
        outcome = await _before(connection, await find_on(connection, letter_id, asking), asking)
    if letters and services.agents is not None:
        services.agents.relay.wake()
    return Requeueing(outcome.letter, outcome.job, letters)


async def requeue_page(
    services: Services, asking: Asker, wanted: Wanted, *, after: str | None, limit: int
) -> ManyRequeued:
    """Requeue one letter after the other of a page. Raises `LimitReached` when not even the first may be."""
    rows = await letters(services, asking, wanted, after=after, limit=limit)
    done = ManyRequeued(requeued=0, jobs=[], refused=[], has_more=len(rows) > limit, after=after)
    for row in rows[:limit]:
        name = shown("dead", row["id"])
        try:
            outcome = await requeue(services, row["id"], asking)
            if outcome.letters:  # else the job of an earlier letter covers it
                done.requeued += outcome.letters
                done.jobs.append(outcome.letter["requeued_as"])
        except NotFound:
            pass  # it was dropped just now
        except Conflict as refusal:
            done.refused.append(Refused(id=name, code=refusal.reason, message=refusal.message))
        except LimitReached:
            if done.after == after:
                raise
            done.has_more = True  # report what was done; the next request meets the limit
            break
        done.after = name
    return done


async def _requeue_job(connection: "Connection", row: Row, asking: Asker) -> int:
    """How many letters became one new job; 0 when another request was first. Raises `NotFound` or `Conflict`."""
    made = await dead_letters.requeue_job(
        connection,
        row["id"],
        asking.tenant,
        job_id=uuids.uuid7(),
        first_stages=first_stages(),
        traceparent=current_traceparent(),
    )
    if made is not None:
        SUBMITTED.labels(made["kind"], made["lane"]).inc()
        return int(made["letters"])
    if (await find_on(connection, row["id"], asking))["requeued_at"] is not None:
        return 0
    root = await dead_letters.root(connection, row["id"], asking.tenant)
    if root is not None and root["state"] in LIVE:
        raise Conflict(
            f"it is part of {shown('job', root['id'])}, which is {root['state']}: requeue it when that has ended",
            code="job_not_finished",
            field="id",
        )
    raise Conflict(f"there is no kind {row['kind']!r} here now: drop the letter", code="unknown_kind", field="id")


async def _requeue_message(connection: "Connection", row: Row, asking: Asker) -> int:
    """1 when the job that the message names was summoned. Raises `Conflict` when there is nothing to summon."""
    try:
        summons = Summons.model_validate_json(row["payload"])
    except ValidationError:
        raise Conflict(
            f"it still cannot be read ({orjson.loads(row['error'])['message']}): {HARMLESS}",
            code="message_unreadable",
            field="id",
        ) from None
    if await dead_letters.requeue_message(connection, row["id"], summons.job_id):
        return 1
    if (await find_on(connection, row["id"], asking))["requeued_at"] is not None:
        return 0
    raise Conflict(
        f"the job that it names is not queued, and needs no summons: {HARMLESS}", code="job_not_queued", field="id"
    )


async def _before(connection: "Connection", row: Row, asking: Asker) -> Requeueing:
    """The outcome for a requeued letter."""
    job = await reading.job(connection, row["requeued_as"], asking.tenant)
    if job is None and row["source"] == Source.JOB:
        raise Conflict(
            f"it was requeued as {job_id(row['requeued_as'])}, which is no longer kept: drop the letter",
            code="requeued_job_gone",
            field="id",
        )
    children = {} if job is None else await reading.children(connection, [job["id"]])
    return Requeueing(letter_view(row), None if job is None else job_view(job, children.get(job["id"])), 0)
