"""The last stage of a `training` with a gate: whether the new adapter took over the alias, and by which figures."""

from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from schemas.errors import JobError
from schemas.ids import shown
from schemas.kinds.promotion import PromotionResult
from schemas.kinds.training import TrainingInput
from schemas.kinds.training.carries import Registered
from schemas.kinds.training.gate import GateOutcome
from schemas.lifecycle import JobState
from schemas.outcomes import Done, Fail, Outcome
from schemas.promotions import GateNotPassed, said

NEEDS: Final = needs(Ports.children)


class GateUndecided(JobError):
    """The promotion came to no decision, so nothing is known of the adapter, which is trained and registered."""

    code = "gate_undecided"


async def run(job: StageJob[TrainingInput, Registered], ports: Ports) -> Outcome:
    """A promoted or a refused adapter is a training that succeeded; without a decision the job fails and keeps its
    result.
    """
    result = job.carry.result
    [child] = [one async for one in ports.children.results(job.id)]
    refused = child.error is not None and child.error["code"] == GateNotPassed.code
    if child.result is None or not (refused or child.state is JobState.SUCCEEDED):
        error = child.error or {"code": "cancelled", "message": "it was cancelled"}
        why = f"{result.model} is registered, but its promotion failed: {error['message']} [{error['code']}]"
        return Fail(GateUndecided(f"{why}. Promote it by hand"), result.model_dump())
    found = PromotionResult.model_validate(child.result)
    outcome = GateOutcome(
        job=shown("job", child.id), why=said(found.evidence) if refused else None, **found.model_dump()
    )
    return Done(result.model_copy(update={"gate": outcome}).model_dump())
