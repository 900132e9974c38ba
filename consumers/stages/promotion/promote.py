"""The last stage of `promotion`: the candidate takes over the alias if the evaluation's gates are passed."""

from typing import Any, Final

import orjson

from consumers.stages.context import StageJob
from consumers.stages.ports import ChildSummary, Ports, needs
from schemas.errors import JobError
from schemas.ids import shown
from schemas.kinds.evaluation.result import EvaluationResult
from schemas.kinds.promotion import CANDIDATE, Gated, PromotionInput, PromotionResult
from schemas.lifecycle import JobState
from schemas.outcomes import Done, Fail, Outcome
from schemas.promotions import Evidence, GateNotPassed, alone, compared, said

NEEDS: Final = needs(Ports.aliases, Ports.blobs, Ports.children, Ports.files)


class GateFailed(JobError):
    """The evaluation did not come to an end, so nothing is known of the candidate."""

    code = "gate_failed"


async def run(job: StageJob[PromotionInput, Gated], ports: Ports) -> Outcome:
    """Promote, or fail with the figures (`gate_not_passed`), which the job keeps as its result.

    Raises `GateFailed`, and `ChampionChanged` when the alias was moved meanwhile.
    """
    asked, models = job.input, job.carry
    [child] = [one async for one in ports.children.results(job.id)]
    found = EvaluationResult.model_validate(await _result(child, ports))
    told = _evidence(shown("job", child.id), asked, models, found)
    result = PromotionResult(
        alias=asked.alias, model=models.candidate, previous=models.champion, promoted=False, evidence=told
    )
    if not all(gate.passed for gate in told.gates):
        why = f"{models.candidate!r} is not shown to be as good as {models.champion!r}: {said(told)}"
        return Fail(GateNotPassed(why), result=result.model_dump())
    await ports.aliases.promote(
        job.tenant,
        asked.alias,
        models.candidate,
        expected=models.champion,
        by=shown("job", job.id),
        reason=asked.reason,
        evidence=told,
        job=job.id,
    )
    return Done(result.model_copy(update={"promoted": True}).model_dump())


def _evidence(evaluation: str, asked: PromotionInput, models: Gated, found: EvaluationResult) -> Evidence:
    if models.champion is None:
        return alone(evaluation, asked.evaluation(None, models.candidate), found, CANDIDATE)
    return compared(
        evaluation,
        asked.evaluation(models.champion, models.candidate),
        found,
        champion=models.champion,
        candidate=models.candidate,
    )


async def _result(child: ChildSummary, ports: Ports) -> dict[str, Any]:
    if child.state is not JobState.SUCCEEDED or child.result is None:
        error = child.error or {"code": "cancelled", "message": "it was cancelled"}
        raise GateFailed(f"the evaluation did not succeed: {error['message']} [{error['code']}]")
    if set(child.result) != {"file"}:
        return child.result
    file = await ports.files.find(child.result["file"])
    told: dict[str, Any] = orjson.loads(await ports.blobs.get(file.blob))
    return told
