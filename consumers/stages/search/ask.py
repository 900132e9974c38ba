"""The first stage of `search`, to which it comes back whenever its trials have ended: it makes the next ones."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from consumers.stages.search.studies import STARTUP, best_of, proposed
from consumers.stages.search.trials import EndedTrial, ended_trials
from consumers.stages.training.trainable import base_of
from schemas.errors import NotFound, SearchFailed
from schemas.kinds.search import Choices, SearchInput
from schemas.kinds.training import Recipe
from schemas.kinds.training.trial import Trial, TrialInput
from schemas.outcomes import Child, Fail, FanOut, Next, Outcome
from schemas.topics import Lane

NEEDS: Final = needs(Ports.children, Ports.files, Ports.optimiser, Ports.trials)

MAX_KEY_CHARS: Final = 200

Job = StageJob[SearchInput, None]


async def run(job: Job, ports: Ports) -> Outcome:
    """Make the next trials, or go on to the report when there are enough, or the time is over.

    Raises `InvalidInput` for a base model that cannot be trained, or that would not take the adapter, and `NotFound`
    (`file_not_found`). Fails with `trials_failed` when no trial of the first round ended well.
    """
    request = job.input
    await ports.optimiser.ready()
    trials = await ended_trials(job, ports)
    if not trials:
        await _check(request, ports)
    elif all(one.state == "failed" for one in trials):
        return Fail(_why(trials))
    await remove_beaten(request, trials, ports)
    until = None if request.budget_s is None else job.started_at + timedelta(seconds=request.budget_s)
    count = next_round(request, len(trials))
    if not count or (until is not None and datetime.now(UTC) >= until):
        return Next("report")
    await job.report(len(trials), request.most, "choosing what to try next")
    params = await asyncio.to_thread(proposed, request, trials, count)
    children = [child_of(job, len(trials) + at, one, until) for at, one in enumerate(params)]
    return FanOut(children, then="ask", lane=Lane.BULK, at_once=request.at_once)


def next_round(request: SearchInput, made: int) -> int:
    """How many trials to make now, after so many; 0: no more.

    The first ones show whether there is something wrong with all of them. After that, what needs no answers of others
    is made at once, and trials that learn from others as many at a time as run at the same time.
    """
    left = request.most - made
    if not made:
        return min(left, request.at_once)
    if request.sampler != "tpe":
        return left
    return min(left, max(request.at_once, STARTUP - made))


def child_of(job: Job, number: int, params: dict[str, Any], until: datetime | None) -> Child:
    """The training of one trial."""
    request = job.input
    given = {name: getattr(request, name) for name in Recipe.model_fields}
    trial = Trial(search=job.id, number=number, pruner=request.judged_by, until=until)
    given |= {"hyperparameters": request.varied(params), "trial": trial}
    return Child("training", TrialInput(**given), key=key_of(number, params))


def key_of(number: int, params: dict[str, Any]) -> str:
    """`7 · learning_rate=0.00021 · rank=16`: the trial's name in lists of jobs."""
    told = [f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()]
    return " · ".join([str(number), *told])[:MAX_KEY_CHARS]


async def remove_beaten(request: SearchInput, trials: Sequence[EndedTrial], ports: Ports) -> None:
    """Remove the adapters of all trials but the best ones, as soon as there are better ones."""
    best = await asyncio.to_thread(best_of, request, trials)
    for one in trials:
        if one.adapter is not None and one.number not in best:
            await ports.files.remove(one.adapter)


async def _check(request: SearchInput, ports: Ports) -> None:
    """What would fail every trial is told by the search itself."""
    ranks = request.space.get("rank")
    highest = 0 if ranks is None else int(max(ranks.choices, key=int) if isinstance(ranks, Choices) else ranks.high)
    how = request.varied({"rank": highest}) if highest else request.hyperparameters
    base_of(request.model_copy(update={"hyperparameters": how}), ports.deployment.models)
    for field in ("dataset", "validation"):
        file = getattr(request, field)
        if file is not None:
            try:
                await ports.files.find(file)
            except NotFound as error:
                why = f"there is no file {file!r}; upload the dataset with POST /v1/files and name the id it gives"
                raise NotFound(why, code="file_not_found", field=f"input.{field}") from error


def _why(trials: Sequence[EndedTrial]) -> SearchFailed:
    first = trials[0].error or {"code": "cancelled", "message": ""}
    others = {one.error["code"] for one in trials if one.error is not None} - {first["code"]}
    also = f"; others with {', '.join(sorted(others))}" if others else ""
    why = f"no trial ended well: the first one with {first['code']}: {first['message']}{also}"
    return SearchFailed(why, code="trials_failed")
