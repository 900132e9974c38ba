"""Whether a trial of a search is worth its machine: asked at each evaluation, and answered from those of all trials."""

import asyncio
import math
from datetime import UTC, datetime
from uuid import UUID

from consumers.stages.patience import patient
from consumers.stages.ports import Ports
from schemas.kinds.training import TrainingInput
from schemas.kinds.training.plan import Stepped
from schemas.kinds.training.trial import Pruned, Skipped, TrialInput
from schemas.outcomes import Cancelled


class Beaten(Exception):
    """The trial stops here."""

    def __init__(self, pruned: Pruned) -> None:
        super().__init__(f"pruned at step {pruned.step}")
        self.outcome = Cancelled(pruned.model_dump())


async def judge(request: TrainingInput, id: UUID, ports: Ports, frame: Stepped) -> None:
    """Keep a trial's held-out loss for its search. Raises `Beaten` if others did so much better that it should stop.

    Only trials are judged: not before their first step, and not at their last, where nothing is left to spare.
    """
    loss = frame.validation_loss
    if not isinstance(request, TrialInput) or loss is None or not math.isfinite(loss) or not frame.step:
        return
    seen = await patient(lambda: ports.trials.evaluated(id, frame.step, loss))
    trial = request.trial
    if trial.pruner is None or frame.step >= frame.steps:
        return
    await ports.optimiser.ready()
    # Imported here: other trainings need nothing of searches.
    from consumers.stages.search.studies import hopeless

    every = request.hyperparameters.evaluate_every
    expected = None if every == "auto" else math.ceil(frame.steps / every)
    at = next(place for place, one in enumerate(seen) if one.id == id)
    if await asyncio.to_thread(hopeless, trial.pruner, trial.search.hex, seen, at, expected):
        raise Beaten(Pruned(evaluation=len(seen[at].evaluations), step=frame.step, validation_loss=loss))


def too_late(request: TrainingInput) -> Cancelled | None:
    """The end of a trial that does not begin because its search's time is over."""
    until = request.trial.until if isinstance(request, TrialInput) else None
    return Cancelled(Skipped().model_dump()) if until is not None and datetime.now(UTC) >= until else None
