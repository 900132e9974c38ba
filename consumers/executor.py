"""Runs one stage of a claimed job and decides what its outcome does: the only place where outcomes become moves."""

import asyncio
import contextlib
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, assert_never

import orjson
import structlog

from consumers import moves
from consumers.breakers import Breakers
from consumers.completions import Completions
from consumers.fan_out import Wait, wait
from consumers.held import Abort, HeldJob, HeldJobs
from consumers.opening import opened
from consumers.reporting import Reporter
from consumers.stages.pieces import whole
from consumers.stages.ports import Ports
from consumers.stages.registry import stage
from consumers.transcripts import Transcripts
from infra.metrics import FENCED, STAGE_SECONDS
from infra.patience import patiently
from infra.postgres.database import Database
from infra.postgres.queries import aliases
from infra.postgres.queries.claim import Claimed
from infra.postgres.queries.moves import Move
from infra.telemetry import span
from schemas.errors import DependencyUnavailable, InternalError, JobError, LeaseLost, StageTimeout
from schemas.kinds.kind import Step
from schemas.kinds.registry import KINDS, topic_of
from schemas.models import WITHOUT_MODELS, Models
from schemas.outcomes import Cancelled, Done, Fail, FanOut, Next, Outcome, Retry, Snooze

log = structlog.get_logger(__name__)

MAX_INLINE_RESULT: Final = 64 * 1024
"""Bytes of JSON that a job's row may hold; a larger result becomes a file."""


@dataclass(frozen=True, slots=True)
class Executor:
    """What running a stage needs of this process."""

    database: Database
    completions: Completions
    held: HeldJobs
    ports: Ports
    transcripts: Transcripts
    outage: timedelta = timedelta(hours=1)
    """How long an outside system may be away before its outage costs attempts."""
    breakers: Breakers = field(default_factory=Breakers)
    models: Models = WITHOUT_MODELS


class Try:
    """One try of one stage, from its claim to its recorded end.

    `deadline`: until when the claim's lease surely holds, on this process's monotonic clock.
    """

    def __init__(self, executor: Executor, row: Claimed, deadline: float) -> None:
        self.topic: Final = topic_of(row.kind, row.stage, row.lane, row.model)
        """Where its stage's summonses come from."""
        self._x = executor
        self._row = row
        self._step: Step | None = None
        self._loop = asyncio.get_running_loop()
        self._work: asyncio.Task[Outcome] | None = None
        self._aborted: Abort | None = None
        self._held = HeldJob(row.id, row.epoch, deadline, self.abort_from_any_thread)
        executor.held.add(self._held)
        self._transcript = executor.transcripts.of(row, self._abort)

    async def run(self, stage_over: Callable[[], None]) -> None:
        """Run the stage, call `stage_over` as soon as it is, and record what follows."""
        row, began = self._row, time.perf_counter()
        structlog.contextvars.bind_contextvars(job_id=row.id.hex, attempt=row.attempt)
        try:
            try:
                with span(self._name, traceparent=row.traceparent, job_id=row.id.hex, attempt=row.attempt):
                    outcome = await self._outcome()
            finally:
                self._transcript.close()
                stage_over()
            if outcome is None:
                return
            self._tell_breaker(outcome)
            decision = await self._decision(outcome)
            await self._record(decision)
            self._measure(outcome, time.perf_counter() - began)
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

    @property
    def _name(self) -> str:
        return f"{self._row.kind}.{self._row.stage}"

    async def _outcome(self) -> Outcome | None:
        """What the stage answered or raised, as an outcome; None when the job is no longer ours."""
        limit = asyncio.timeout(self._row.timeout_s)
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
                return Retry(StageTimeout(f"the stage ran longer than timeout_s = {self._row.timeout_s:g}"))
            return self._after_error(error)
        except LeaseLost:
            return self._after_abort(Abort.LEASE_LOST)
        except Exception as error:  # noqa: BLE001 - a stage's defect must end as a failed try, not as a lost job
            outcome = self._after_error(error)
            _forget_frames(error)
            return outcome

    async def _stage(self) -> Outcome:
        self._step, job = opened(self._row, Reporter(self._x.database, self._row), self._transcript)
        answer = await stage(job.kind, job.stage)(job, self._x.ports)
        if not isinstance(answer, Outcome):
            raise TypeError(f"stage {self._step.label} answered {type(answer).__name__}, which is not an outcome")
        return answer

    def _after_abort(self, why: Abort) -> Outcome | None:
        match why:
            case Abort.CANCELLED:
                return Cancelled()
            case Abort.STOPPING:
                return Snooze(timedelta(0))
            case Abort.LEASE_LOST:
                FENCED.labels(self._row.kind).inc()
                log.warning("stage.lease_lost", stage=self._row.stage)
                return None
            case _:
                assert_never(why)

    def _after_error(self, error: Exception) -> Retry | Fail:
        """What was raised, as an outcome; anything but a `JobError` is a defect."""
        if isinstance(error, JobError):
            return Retry(error, error.retry_after) if error.retryable else Fail(error)
        log.error("stage.defect", stage=self._row.stage, exc_info=error)
        return Retry(InternalError(f"{type(error).__name__} in stage {self._row.stage}; see the worker's log"))

    def _tell_breaker(self, outcome: Outcome) -> None:
        if isinstance(outcome, Retry) and isinstance(outcome.error, DependencyUnavailable):
            self._x.breakers.away(self.topic)
        else:
            self._x.breakers.well(self.topic)

    async def _decision(self, outcome: Outcome) -> Move | Wait:
        """What the outcome does to the job. An invalid one, such as a child without a key, is an error of the try."""
        try:
            return await self._decide(outcome)
        except LeaseLost:
            return moves.cancelled(self._row)  # the fence that kept the result from being a file refuses this too
        except Exception as error:  # noqa: BLE001 - as for the stage itself
            return await self._decide(self._after_error(error))

    async def _decide(self, outcome: Outcome) -> Move | Wait:
        row = self._row
        match outcome:
            case Next():
                assert self._step is not None
                return moves.onward(row, self._step, outcome)
            case FanOut():
                assert self._step is not None
                return wait(row, self._step, outcome, await self._models(self._step))
            case Done(result=result):
                return moves.done(row, await self._result(result))
            case Retry(error=error, after=after):
                return moves.again(row, error, after, outage=self._x.outage)
            case Snooze(delay=pause):
                return moves.later(row, pause)
            case Fail(error=error, result=left):
                return moves.failed(row, error, result=None if left is None else orjson.dumps(left).decode())
            case Cancelled(result=left):
                return moves.cancelled(row, None if left is None else orjson.dumps(left).decode())
            case _:
                assert_never(outcome)

    async def _models(self, step: Step) -> Models:
        """The models that children may name: where children run one, the tenant's aliases are among them."""
        if all(KINDS[child].task is None for child in step.kind.children):
            return self._x.models
        async with self._x.database.connection() as connection:
            return self._x.models.of_tenant(await aliases.champions(connection, self._row.tenant))

    async def _result(self, result: dict[str, Any]) -> str:
        data = orjson.dumps(result)
        if len(data) <= MAX_INLINE_RESULT:
            return data.decode()
        files = self._x.ports.file_store.of(self._row.tenant, self._row.id, self._row.epoch)

        def publish() -> Awaitable[str]:
            return files.publish(whole(data), "result.json", "result", content_type="application/json")

        # The work is done: while storage is away it is kept here, and in the end the fence decides.
        file = await patiently(publish, event="artifact.away", first_s=0.1, longest_s=2)
        return orjson.dumps({"file": file}).decode()

    async def _record(self, decision: Move | Wait) -> None:
        recorded = False
        if isinstance(decision, Wait):
            try:
                recorded = await self._x.completions.fan_out(decision)
                # No longer ours, or its owner cancelled it while the stage ran: then it must still end.
                decision = moves.cancelled(self._row)
            except Exception as error:  # noqa: BLE001 - children that come in a stream are read only now
                ended = await self._decide(self._after_error(error))
                assert isinstance(ended, Move)
                decision = ended
        if not recorded and await self._x.completions.record(decision) is None:
            FENCED.labels(self._row.kind).inc()
            log.warning("stage.fenced", stage=self._row.stage)

    def _measure(self, outcome: Outcome, took_s: float) -> None:
        STAGE_SECONDS.labels(self._row.kind, self._row.stage, type(outcome).__name__.lower()).observe(took_s)
        log.info("stage.finished", stage=self._name, outcome=type(outcome).__name__, ms=round(took_s * 1000, 1))


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the stage's frames hold, perhaps a large document: they and the error that they raised hold each
    other until the garbage collector looks, which is seldom.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
