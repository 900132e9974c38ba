"""The last stage of `calibration`: agreement, bias and what the judge favours."""

from collections import Counter
from typing import Final

from consumers.stages.calibration.plan import VARIANT, reversed_name
from consumers.stages.context import StageJob
from consumers.stages.naming import judge_name
from consumers.stages.ports import Ports, needs
from schemas.kinds.calibration import CalibrationInput, CalibrationPlanned, CalibrationResult, Confusion, Disagreement
from schemas.kinds.evaluation.judge import Scores, SliceResult
from schemas.outcomes import Done, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.children, Ports.judgements)

PARTS: Final = 5
"""Equal parts of 0..1 in which scores agree, for the weighted kappa."""
SHOWN: Final = 20
APART: Final = 0.25
"""From this difference on a disagreement is listed."""


async def run(job: StageJob[CalibrationInput, CalibrationPlanned], ports: Ports) -> Outcome:
    """Pair what people and judge said. Answers that the judge could not score are counted as missing."""
    # Imported here: it needs the group `cpu`, and a worker says what it lacks when it opens its ports.
    import numpy as np

    from consumers.ranking.bootstrap import mean_interval
    from consumers.scoring.agreement import cohens_kappa, spearman

    request = job.input
    name = request.metric if request.grader is None else request.grader.name
    assert name is not None
    told: dict[str, Scores] = {}
    spent, messages = Counter[str](), dict[str, str]()
    failed = None
    async for child in ports.children.results(job.id):
        if child.result is None:
            failed = child.error or {"code": "cancelled", "message": "the slice was cancelled"}
            messages.setdefault(failed["code"], failed["message"])
            continue
        result = SliceResult.model_validate(child.result)
        told |= result.answers
        messages |= result.messages
        spent.update(calls=result.calls, cached=result.cached)
    unscored = Counter[str]()
    pairs: list[tuple[str, float, float, int]] = []
    changed: list[bool] = []
    for row, item in enumerate(request.items, start=1):
        scores = told.get(f"{row}/{VARIANT}", Scores())
        if (score := scores.scores.get(name)) is None:
            unscored[scores.unscored.get(name) or (failed or {"code": "slice_missing"})["code"]] += 1
            continue
        pairs.append((item.id or str(row), request.human_score(item), score, len(item.answer)))
        if (other := scores.scores.get(reversed_name(name))) is not None:
            changed.append(other != score)
    human, judge = np.array([one[1] for one in pairs]), np.array([one[2] for one in pairs])
    human_passes, judge_passes = human >= request.threshold, judge >= request.threshold
    parts = tuple(np.minimum((one * PARTS).astype(int), PARTS - 1) for one in (human, judge))
    bias = mean_interval(judge - human) if pairs else None
    apart = sorted(pairs, key=lambda one: (-abs(one[1] - one[2]), one[0]))
    found = CalibrationResult(
        judge=judge_name(request.judge.model, request.judge.version, ports.deployment.models),
        items=len(request.items),
        missing=len(request.items) - len(pairs),
        unscored=dict(unscored),
        messages={code: messages[code] for code in unscored if code in messages},
        agreement=_rounded(float((human_passes == judge_passes).mean()) if pairs else None),
        kappa=_rounded(cohens_kappa(human_passes, judge_passes, 2)),
        weighted_kappa=_rounded(cohens_kappa(parts[0], parts[1], PARTS, quadratic=True)),
        confusion=Confusion(
            both=int((human_passes & judge_passes).sum()),
            judge_only=int((~human_passes & judge_passes).sum()),
            human_only=int((human_passes & ~judge_passes).sum()),
            neither=int((~human_passes & ~judge_passes).sum()),
        ),
        bias=_rounded(None if bias is None else bias.mean),
        bias_ci95=None if bias is None else bias.ci95,
        verbosity=_rounded(spearman([one[3] for one in pairs], judge - human)),
        position=_rounded(sum(changed) / len(changed) if changed else None),
        disagreements=[
            Disagreement(id=item, human=ours, judge=theirs)
            for item, ours, theirs, _ in apart[:SHOWN]
            if abs(ours - theirs) >= APART
        ],
        calls=spent["calls"],
        cached=spent["cached"],
        tokens=(await ports.judgements.cost(job.id))[0],
    )
    await ports.blobs.delete(job.carry.lines)
    return Done(found.model_dump())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4) + 0.0
