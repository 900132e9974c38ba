"""The trials of a search as their jobs tell them: nothing about a search is kept anywhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from consumers.stages.context import StageJob
from consumers.stages.ports import ChildSummary, Evaluation, Ports
from schemas.ids import shown
from schemas.kinds.search import SearchInput, State, TrialView
from schemas.kinds.training import TrainingResult
from schemas.lifecycle import JobState

MISSING = "objective_missing"
"""A training ended without a figure that the search looks for, such as a loss where nothing was held out."""


@dataclass(frozen=True, slots=True)
class EndedTrial:
    """A trial that ended. `values`: of the objectives, in their order, if it is complete."""

    number: int
    id: UUID
    state: State
    params: dict[str, Any]
    values: list[float] | None
    evaluations: Sequence[Evaluation]
    adapter: str | None
    training: TrainingResult | None
    error: dict[str, Any] | None

    def view(self, *, kept: bool) -> TrialView:
        """As the result tells it. `kept`: its adapter is."""
        return TrialView(
            number=self.number,
            job=shown("job", self.id),
            state=self.state,
            params=self.params,
            values=self.values,
            adapter=self.adapter if kept else None,
            steps=_last_step(self),
            seconds=None if self.training is None else round(self.training.metrics.seconds, 3),
            error=None if self.error is None else self.error["code"],
        )


async def ended_trials(job: StageJob[SearchInput, None], ports: Ports) -> list[EndedTrial]:
    """All trials that the search has made, in their order; when a stage asks, they have ended."""
    seen = {one.id: one.evaluations for one in await ports.trials.seen(job.id)}
    found = []
    for number in range(1, job.rounds + 1):
        async for child in ports.children.results(job.id, number):
            found.append(ended(job.input, child, seen.get(child.id, [])))
    return found


def ended(request: SearchInput, child: ChildSummary, evaluations: Sequence[Evaluation]) -> EndedTrial:
    """One of them."""
    result = child.result or {}
    training: TrainingResult | None = None
    adapter: str | None = None
    state: State = "failed"
    values: list[float] | None = None
    error = child.error
    if child.state is JobState.SUCCEEDED:
        training = TrainingResult.model_validate(result)
        adapter = training.adapter
        figures = [getattr(training.metrics, name) for name in request.objectives]
        if None in figures:
            error = {"code": MISSING, "message": "the training told no value of an objective"}
        else:
            state, values = "complete", [float(one) for one in figures]
    elif child.state is JobState.CANCELLED:
        state = "pruned" if "pruned" in result else "skipped" if "skipped" in result else "cancelled"
    else:
        adapter = result.get("adapter")  # of the last good checkpoint
    return EndedTrial(
        number=child.input["trial"]["number"],
        id=child.id,
        state=state,
        params={name: child.input["hyperparameters"][name] for name in request.space},
        values=values,
        evaluations=evaluations,
        adapter=adapter,
        training=training,
        error=error,
    )


def _last_step(trial: EndedTrial) -> int | None:
    if trial.training is not None:
        return trial.training.metrics.steps
    return trial.evaluations[-1].step if trial.evaluations else None
