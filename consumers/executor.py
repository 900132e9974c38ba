"""Runs one stage of a claimed job and decides what its outcome does: the only place where outcomes become moves."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, assert_never

import orjson
import structlog
import uuid_utils.compat as uuids

from consumers.breakers import Breakers
from consumers.completions import Completions
from consumers.held import Abort, HeldJob, HeldJobs
from consumers.retry import outage_delay, retry_delay
from consumers.stages.context import StageJob
from consumers.stages.ports import Ports
from consumers.stages.registry import stage
from infra.artifacts import Artifacts
from infra.metrics import FAILURES, FENCED, RETRIES, STAGE_SECONDS
from infra.patience import patiently
from infra.postgres.database import Database
from infra.postgres.queries import claim
from infra.postgres.queries.moves import Move
from infra.telemetry import span
from schemas.errors import DependencyUnavailable, InternalError, JobError, LeaseLost, StageTimeout
from schemas.lifecycle import JobState
from schemas.outcomes import Cancelled, Done, Fail, FanOut, Next, Outcome, Retry, Snooze
from schemas.topics import Lane, topic_name

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

MAX_INLINE_RESULT: Final = 64 * 1024
"""Bytes of JSON that a job's row may hold; a larger result becomes a file."""

PROGRESS_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Executor:
    """What running a stage needs of this process."""

    database: Database
    completions: Completions
    held: HeldJobs
    ports: Ports
    artifacts: Artifacts
    outage: timedelta = timedelta(hours=1)
    """For how long an outside system may be away before its outage costs attempts."""
    breakers: Breakers = field(default_factory=Breakers)


class Try:
    """One try of one stage, from its claim to its recorded end.

    `deadline`: until when the claim's lease surely holds, on this process's monotonic clock.
    """

    def __init__(self, executor: Executor, row: "asyncpg.Record", deadline: float) -> None:
        self._x = executor
        self._row = row
        self._loop = asyncio.get_running_loop()
        self._work: asyncio.Task[Outcome] | None = None
        self._aborted: Abort | None = None
        self._next_progress = 0.0
        self._held = HeldJob(row["id"], row["epoch"], deadline, self.abort_from_any_thread)
        executor.held.add(self._held)

    async def run(self, stage_over: Callable[[], None]) -> None:
        """Run the stage, call `stage_over` as soon as it is, and record what follows."""
        row = self._row
        began = time.perf_counter()
        structlog.contextvars.bind_contextvars(job_id=row["id"].hex, attempt=row["attempt"])
        name = f"{row['kind']}.{row['stage']}"
        try:
            try:
                with span(name, traceparent=row["traceparent"], job_id=row["id"].hex, attempt=row["attempt"]):
                    outcome = await self._outcome()
            finally:
                stage_over()
            if outcome is None:
                return
            self._tell_breaker(outcome)
            await self._record(outcome)
            took = time.perf_counter() - began
            STAGE_SECONDS.labels(row["kind"], row["stage"], type(outcome).__name__.lower()).observe(took)
            log.info("stage.finished", stage=name, outcome=type(outcome).__name__, ms=round(took * 1000, 1))
        finally:
            self._x.held.remove(self._held)

    def abort_from_any_thread(self, why: Abort) -> None:
        """Stop the stage; harmless when it is over already."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(self._abort, why)

    def _abort(self, why: Abort) -> None:
        if self._work is not None and not self._work.done() and self._aborted is None:
            self._aborted = why
            self._work.cancel()

    async def _outcome(self) -> Outcome | None:
        """What the stage answered or raised, as an outcome; None when the job is no longer ours."""
        row = self._row
        limit = asyncio.timeout(row["timeout_s"])
        try:
            async with limit:
                self._work = asyncio.ensure_future(self._stage())
                return await self._work
        except asyncio.CancelledError:
            if self._aborted is None:
                raise
            return self._after_abort(self._aborted)
        except TimeoutError as error:
            if limit.expired():
                return Retry(StageTimeout(f"the stage ran longer than timeout_s = {row['timeout_s']:g}"))
            return self._after_defect(error)
        except LeaseLost:
            return self._after_abort(Abort.LEASE_LOST)
        except JobError as error:
            return Retry(error, error.retry_after) if error.retryable else Fail(error)
        except Exception as error:  # noqa: BLE001 - a stage's defect must end as a failed try, not as a lost job
            return self._after_defect(error)

    async def _stage(self) -> Outcome:
        row = self._row
        job = StageJob(
            id=row["id"],
            tenant=row["tenant"],
            kind=row["kind"],
            stage=row["stage"],
            lane=Lane(row["lane"]),
            attempt=row["attempt"],
            epoch=row["epoch"],
            input=orjson.loads(row["input"]),
            carry=orjson.loads(row["carry"]) if row["carry"] else {},
            created_at=row["created_at"],
            started_at=row["started_at"],
            report=self._report,
        )
        return await stage(job.kind, job.stage)(job, self._x.ports)

    def _after_abort(self, why: Abort) -> Outcome | None:
        match why:
            case Abort.CANCELLED:
                return Cancelled()
            case Abort.STOPPING:
                return Snooze(timedelta(0))
            case Abort.LEASE_LOST:
                FENCED.labels(self._row["kind"]).inc()
                log.warning("stage.lease_lost", stage=self._row["stage"])
                return None
            case _:
                assert_never(why)

    def _after_defect(self, error: Exception) -> Outcome:
        log.error("stage.defect", stage=self._row["stage"], exc_info=error)
        return Retry(InternalError(f"{type(error).__name__} in stage {self._row['stage']}; see the worker's log"))

    async def _record(self, outcome: Outcome) -> None:
        if isinstance(outcome, FanOut):
            recorded = await self._fan_out(outcome)
        else:
            recorded = await self._x.completions.record(await self._move(outcome)) is not None
        if not recorded:
            FENCED.labels(self._row["kind"]).inc()
            log.warning("stage.fenced", stage=self._row["stage"])

    async def _move(self, outcome: Next | Done | Retry | Snooze | Fail | Cancelled) -> Move:
        row = self._row
        job_id, epoch = row["id"], row["epoch"]
        match outcome:
            case Next(stage=name, carry=carry):
                return Move(job_id, epoch, JobState.QUEUED, stage=name, carry=_dump(carry), attempt=0)
            case Done(result=result):
                return Move(job_id, epoch, JobState.SUCCEEDED, result=await self._result(result))
            case Retry(error=error, after=after):
                return self._again(error, after)
            case Snooze(delay=pause):
                # No attempt is spent. A pause of 0 hands the job straight back: a stopping worker does that.
                state = JobState.RETRY_WAIT if pause else JobState.QUEUED
                return Move(job_id, epoch, state, delay_s=pause.total_seconds(), attempt=row["attempt"] - 1)
            case Fail(error=error):
                return self._failed(error)
            case Cancelled():
                return Move(job_id, epoch, JobState.CANCELLED)
            case _:
                assert_never(outcome)

    def _again(self, error: JobError, after: timedelta | None) -> Move:
        """Repeat the try later, counting it or not; or fail when no attempt is left."""
        row = self._row
        attempt, limit = row["attempt"], row["max_attempts"]
        since = self._away_since(error)
        delay = outage_delay(error, away=row["claimed_at"] - since, limit=self._x.outage, max_attempts=limit)
        if delay is not None:
            attempt -= 1
        else:
            delay = retry_delay(error, attempt=attempt, max_attempts=limit)
        if delay is None:
            return self._failed(error, dead=error.retryable)
        RETRIES.labels(row["kind"], error.reason).inc()
        return Move(
            row["id"],
            row["epoch"],
            JobState.RETRY_WAIT,
            error=_error(error, since if isinstance(error, DependencyUnavailable) else None),
            delay_s=(delay if after is None else after).total_seconds(),
            attempt=attempt,
        )

    def _away_since(self, error: JobError) -> datetime:
        """Since when tries in a row found the same outside system away, by Postgres's clock; now, if this is the first.

        Kept in the job's error, where its owner sees it too.
        """
        now: datetime = self._row["claimed_at"]
        last = orjson.loads(self._row["error"]) if self._row["error"] else {}
        if last.get("code") != error.reason or last.get("since") is None:
            return now
        return datetime.fromisoformat(last["since"])

    def _tell_breaker(self, outcome: Outcome) -> None:
        topic = topic_name(self._row["kind"], self._row["stage"], self._row["lane"])
        if isinstance(outcome, Retry) and isinstance(outcome.error, DependencyUnavailable):
            self._x.breakers.away(topic)
        else:
            self._x.breakers.well(topic)

    def _failed(self, error: JobError, *, dead: bool = False) -> Move:
        FAILURES.labels(self._row["kind"], error.reason).inc()
        return Move(
            self._row["id"],
            self._row["epoch"],
            JobState.FAILED,
            error=_error(error),
            code=error.reason,
            dead=dead,
        )

    async def _result(self, result: dict[str, Any]) -> str:
        data = orjson.dumps(result)
        if len(data) <= MAX_INLINE_RESULT:
            return data.decode()
        row = self._row
        store = partial(
            self._x.artifacts.store,
            row["tenant"],
            row["id"],
            row["epoch"],
            filename="result.json",
            content_type="application/json",
            data=data,
        )
        # The work is done: while storage is away it is kept here, and in the end the fence decides.
        return _dump({"file": await patiently(store, event="artifact.away", first_s=0.1, longest_s=2)})

    async def _fan_out(self, outcome: FanOut) -> bool:
        children = [(uuids.uuid7(), child.stage, _dump(child.input)) for child in outcome.children]
        held = await self._x.completions.fan_out(
            self._row["id"], self._row["epoch"], then=outcome.then, carry=_dump(outcome.carry), children=children
        )
        if held:
            return True
        # Not ours any more, or its owner cancelled it while the stage ran: then it must still end.
        return (
            await self._x.completions.record(Move(self._row["id"], self._row["epoch"], JobState.CANCELLED)) is not None
        )

    async def _report(self, done: int, total: int, message: str | None = None) -> None:
        now = time.monotonic()
        if now < self._next_progress and done < total:
            return
        self._next_progress = now + PROGRESS_PAUSE_S
        with contextlib.suppress(DependencyUnavailable):  # progress is a courtesy: the work must not fail for it
            async with self._x.database.connection() as connection:
                await claim.progress(
                    connection, self._row["id"], self._row["epoch"], done, total, message, worker=self._row["worker"]
                )


def _dump(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()


def _error(error: JobError, since: datetime | None = None) -> str:
    told = {"code": error.reason, "message": error.message, "retryable": error.retryable}
    return _dump(told if since is None else {**told, "since": since.isoformat()})
