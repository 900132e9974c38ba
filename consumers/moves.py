"""What each outcome of a try does to its job's row: the decisions, without the recording."""

from datetime import datetime, timedelta
from typing import Any

import orjson

from consumers.retry import outage_delay, retry_delay
from infra.metrics import FAILURES, RETRIES
from infra.postgres.queries.claim import Claimed
from infra.postgres.queries.moves import Move
from schemas.errors import BatchInvalid, DependencyUnavailable, JobError, StageUnknown
from schemas.kinds.kind import Kind, Step
from schemas.kinds.registry import backoff_of
from schemas.kinds.shapes import Given, written_carry
from schemas.lifecycle import JobState
from schemas.outcomes import Next


def onward(row: Claimed, step: Step, outcome: Next) -> Move:
    """To the next stage. Raises `StageUnknown`, and `CarryInvalid` when the carry does not fit that stage."""
    stage, carry = carried(step.kind, outcome.stage, outcome.carry)
    return Move(row.id, row.epoch, JobState.QUEUED, stage=stage, carry=carry, attempt=0)


def carried(kind: Kind, stage: str, carry: Given | None) -> tuple[str, str | None]:
    """A stage of the kind and what it is to be given, as JSON. Raises `StageUnknown` and `CarryInvalid`."""
    if stage not in kind.stages:
        raise StageUnknown(f"kind {kind.name!r} has no stage {stage!r} to continue with")
    return stage, written_carry(Step(kind, stage), carry)


def done(row: Claimed, result: str) -> Move:
    """To its end, with a result as JSON."""
    return Move(row.id, row.epoch, JobState.SUCCEEDED, result=result)


def later(row: Claimed, pause: timedelta) -> Move:
    """The same stage again, at no cost. A pause of 0 hands the job straight back: a stopping worker does that."""
    state = JobState.RETRY_WAIT if pause else JobState.QUEUED
    return Move(row.id, row.epoch, state, delay_s=pause.total_seconds(), attempt=row.attempt - 1)


def again(row: Claimed, error: JobError, after: timedelta | None, *, outage: timedelta) -> Move:
    """Repeat the try later, counting it or not; or fail when no attempt is left."""
    attempt = row.attempt
    since = _away_since(row, error)
    delay = outage_delay(error, away=row.claimed_at - since, limit=outage, max_attempts=row.max_attempts)
    if delay is not None:
        attempt -= 1
    else:
        delay = retry_delay(error, attempt=attempt, max_attempts=row.max_attempts, backoff=backoff_of(row.kind))
    if delay is None:
        return failed(row, error, dead=error.retryable)
    RETRIES.labels(row.kind, error.reason).inc()
    return Move(
        row.id,
        row.epoch,
        JobState.RETRY_WAIT,
        error=_told(error, since if isinstance(error, DependencyUnavailable) else None),
        delay_s=(delay if after is None else after).total_seconds(),
        attempt=attempt,
    )


def failed(row: Claimed, error: JobError, *, dead: bool = False, result: str | None = None) -> Move:
    """To its end, with an error; `dead`: because its attempts are spent. `result`: what it leaves, as JSON."""
    FAILURES.labels(row.kind, error.reason).inc()
    told = _told(error)
    return Move(row.id, row.epoch, JobState.FAILED, result=result, error=told, code=error.reason, dead=dead)


def cancelled(row: Claimed, result: str | None = None) -> Move:
    """To its end, because its owner cancelled it. `result`: what it leaves, as JSON."""
    return Move(row.id, row.epoch, JobState.CANCELLED, result=result)


def _away_since(row: Claimed, error: JobError) -> datetime:
    """Since when tries in a row found the same outside system away, by Postgres's clock; now, if this is the first.

    Kept in the job's error, where its owner sees it too.
    """
    last = orjson.loads(row.error) if row.error else {}
    if last.get("code") != error.reason or last.get("since") is None:
        return row.claimed_at
    return datetime.fromisoformat(last["since"])


def _told(error: JobError, since: datetime | None = None) -> str:
    told: dict[str, Any] = {"code": error.reason, "message": error.message, "retryable": error.retryable}
    told |= {} if error.field is None else {"field": error.field}
    told |= {"lines": error.lines} if isinstance(error, BatchInvalid) else {}
    return orjson.dumps(told if since is None else {**told, "since": since.isoformat()}).decode()
