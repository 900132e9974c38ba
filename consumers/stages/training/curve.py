"""Tells how a training goes while it runs: the job's events have its figures, and so has the experiment tracker."""

import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Tracker
from schemas.errors import DependencyUnavailable
from schemas.ids import shown
from schemas.kinds.training import DataReport, TrainingInput
from schemas.kinds.training.plan import Begun, Stepped, TrainingPlan
from schemas.tracking import MAIN, NewRun, Tracking, experiment_name

EVERY_S: Final = 1.0
"""Steps that come sooner after one that was told are not told, unless a loss on held-out examples comes with them."""
MOST_WAITING: Final = 10_000
"""Points that wait for the tracker's spool; the oldest are left out beyond that."""


class Curve:
    """The figures of one run of a job. A tracker that cannot be reached holds up nothing: points wait for it here."""

    def __init__(self, job: StageJob[TrainingInput, Any], tracker: Tracker) -> None:
        self._job = job
        self._tracker = tracker
        self._steps = 0
        self._next = 0.0
        self._passed_over: Stepped | None = None
        self._waiting: deque[Stepped] = deque(maxlen=MOST_WAITING)
        self._new_run: NewRun | None = None
        self.tracking: Tracking | None = None
        """Where the tracker shows it; None without one, and until it is told of the run."""

    async def begin(self, plan: TrainingPlan, begun: Begun, data: DataReport) -> None:
        """Training begins, or goes on; `begin` of a run that the tracker has changes nothing there."""
        request, self._steps = self._job.input, begun.steps
        tags = {"welip.kind": self._job.kind, "welip.base_model": request.base_model}
        if data.dataset is not None:
            tags["welip.dataset.sha256"] = data.dataset.sha256
        name = shown("job", self._job.id)
        self._new_run = NewRun(MAIN, _experiment(request), name, tags=tags, params=_params(request, plan, begun, data))
        await self._pass_on()

    async def add(self, frame: Stepped) -> None:
        """A step was made, or the loss on held-out examples was measured."""
        now = time.monotonic()
        if now < self._next and frame.validation_loss is None:
            self._passed_over = frame
            return
        if frame.loss is not None:
            self._next, self._passed_over = now + EVERY_S, None
        await self._tell(frame)

    async def end(self) -> None:
        """Tell what was passed over last: the end of a curve is what people look at."""
        if self._passed_over is not None:
            frame, self._passed_over = self._passed_over, None
            await self._tell(frame)

    async def attach(self, name: str, file: str) -> None:
        """Give the tracker a file, if it has the run."""
        with suppress(DependencyUnavailable):
            if self.tracking is not None:
                await self._tracker.attach(MAIN, name, file)

    async def _tell(self, frame: Stepped) -> None:
        # Before the first step the trainer has not counted them yet.
        await self._job.report(frame.step, frame.steps or self._steps, line(frame), frame.metrics())
        self._waiting.append(frame)
        await self._pass_on()

    async def _pass_on(self) -> None:
        with suppress(DependencyUnavailable):
            if self._new_run is not None:
                run = await self._tracker.begin(self._new_run)
                if run is not None:
                    experiment = experiment_name(self._job.tenant, self._new_run.experiment)
                    self.tracking = Tracking(experiment=experiment, run=str(run))
                self._new_run = None
            while self._waiting:
                if self.tracking is not None:
                    await self._tracker.log(MAIN, self._waiting[0].metrics(), step=self._waiting[0].step)
                self._waiting.popleft()


def line(frame: Stepped) -> str:
    """`loss 1.234 · validation 1.301 · 1,204 tokens/s · 12 min left`."""
    told = []
    if frame.loss is not None:
        told.append(f"loss {frame.loss:.3f}")
    if frame.validation_loss is not None:
        told.append(f"validation {frame.validation_loss:.3f}")
    if frame.step:
        told.append(f"{frame.tokens_per_s:,.0f} tokens/s")
        told.append(f"{_duration(frame.left_s)} left")
    return " · ".join(told)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def _experiment(request: TrainingInput) -> str:
    return request.experiment or request.base_model


def _params(request: TrainingInput, plan: TrainingPlan, begun: Begun, data: DataReport) -> Mapping[str, str]:
    """How it trains: what was asked for, and in place of `auto` what that came to. No paths of this machine."""
    asked = request.model_dump(include={"base_model", "dataset", "validation", "method", "adapter", "register_as"})
    planned = {name: getattr(plan, name) for name in type(request.hyperparameters).model_fields}
    counted = {name: getattr(data, name) for name in ("rows", "validation_rows", "tokens", "longest")}
    given = {**asked, **planned, **begun.chosen.model_dump(), **counted}
    return {name: str(value) for name, value in given.items() if value is not None}
