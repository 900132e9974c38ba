"""Cuts the scored answers into slices, and makes a child for each one that models are to score."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from consumers.stages.answers import Answer
from consumers.stages.evaluation.affording import left_of, paid_for
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Planned
from schemas.kinds.evaluation.judge import JudgeInput, SimilarityInput, Slice
from schemas.kinds.evaluation.metrics import metric
from schemas.models import Models
from schemas.outcomes import Child

JUDGED_AT_ONCE: Final = 10
"""Answers in a slice for the judge: what a retry looks up again, and with eleven calls each enough for one job.

Answers to one question are never parted, because the judge is asked much the same about them.
"""

SLICES_EMBEDDED: Final = 20
"""Such slices in one for the embedder, which takes texts in batches."""


@dataclass
class Cutting:
    """Where slices of `each` lines begin in a stream of lines, and what the answers in it have cost."""

    each: int
    starts: list[int] = field(default_factory=list)
    size: int = 0
    lines: int = 0
    tokens: int = 0
    cost: float = 0.0

    async def through(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The stream as it is; every piece holds whole lines."""
        async for piece in pieces:
            for line in piece.splitlines(keepends=True):
                if self.lines % self.each == 0:
                    self.starts.append(self.size)
                self.lines += 1
                self.size += len(line)
            yield piece

    def charge(self, answer: Answer, models: Models) -> None:
        """Count what an answer has cost."""
        tokens, cost = paid_for(answer, models)
        self.tokens += tokens
        self.cost += cost

    def slices(self, blob: str, every: int = 1) -> list[Slice]:
        """The slices of the blob that the stream went to; with `every` > 1, so many in one."""
        ends = [*self.starts[every::every], self.size]
        return [
            Slice(blob=blob, start=start, length=end - start)
            for start, end in zip(self.starts[::every], ends, strict=True)
        ]


def judged_metrics(planned: Planned) -> list[str]:
    """The metrics of the plan that the judge is asked for."""
    return [name for name in _names(planned) if metric(name).ragas]


def needs_models(request: EvaluationInput, planned: Planned) -> bool:
    """Whether any score is left to models."""
    return bool(request.asking_graders) or any(metric(name).by_model for name in _names(planned))


def children(run: UUID, request: EvaluationInput, planned: Planned, cutting: Cutting, blob: str) -> list[Child]:
    """A child for each slice: of the judge, then of the embedder. The last part of a key is the number of the slice."""
    made: list[Child] = []
    metrics, graders = judged_metrics(planned), request.asking_graders
    if request.judge is not None and (metrics or graders):
        allowance = left_of(request, cutting.tokens, cutting.cost)
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


def lines_a_slice(variants: int) -> int:
    """How many lines are in a slice for the judge."""
    return variants * max(1, JUDGED_AT_ONCE // variants)


def slice_of(stage: str, line: int, each: int) -> str:
    """The key of the child that scored a line, which counts from 0, at `judge` or `similarity`."""
    return f"{stage}/{line // (each * (SLICES_EMBEDDED if stage == 'similarity' else 1))}"


def _names(planned: Planned) -> list[str]:
    return list(dict.fromkeys(name for names in planned.metrics.values() for name in names))
