"""Makes a child for each slice of the scored answers that models are to score."""

from typing import Final
from uuid import UUID

from consumers.stages.cutting import Cutting
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Planned
from schemas.kinds.evaluation.judge import Allowance, JudgeInput, SimilarityInput
from schemas.kinds.evaluation.metrics import metric
from schemas.outcomes import Child

SLICES_EMBEDDED: Final = 20
"""Slices for the judge in one for the embedder, which takes texts in batches."""


def judged_metrics(planned: Planned) -> list[str]:
    """The metrics of the plan that the judge is asked for."""
    return [name for name in _names(planned) if metric(name).ragas]


def needs_models(request: EvaluationInput, planned: Planned) -> bool:
    """Whether any score is left to models."""
    return bool(request.asking_graders) or any(metric(name).by_model for name in _names(planned))


def children(
    run: UUID, request: EvaluationInput, planned: Planned, cutting: Cutting, blob: str, allowance: Allowance
) -> list[Child]:
    """A child for each slice: of the judge, then of the embedder. The last part of a key is the number of the slice.

    `allowance`: what the judge may cost.
    """
    made: list[Child] = []
    metrics, graders = judged_metrics(planned), request.asking_graders
    if request.judge is not None and (metrics or graders):
        made += [
            Child(
                "evaluation",
                JudgeInput(
                    judge=request.judge, slice=part, metrics=metrics, graders=graders, run=run, allowance=allowance
                ),
                key=f"judge/{n}",
                stage="judge",
            )
            for n, part in enumerate(cutting.slices(blob))
        ]
    if "similarity" in _names(planned):
        made += [
            Child("evaluation", SimilarityInput(slice=part), key=f"similarity/{n}", stage="similarity")
            for n, part in enumerate(cutting.slices(blob, SLICES_EMBEDDED))
        ]
    return made


def slice_of(stage: str, line: int, each: int) -> str:
    """The key of the child that scored a line, which counts from 0, at `judge` or `similarity`."""
    return f"{stage}/{line // (each * (SLICES_EMBEDDED if stage == 'similarity' else 1))}"


def _names(planned: Planned) -> list[str]:
    return list(dict.fromkeys(name for names in planned.metrics.values() for name in names))
