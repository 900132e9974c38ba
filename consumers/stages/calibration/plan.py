"""The first stage of `calibration`: makes a child of the judge for each slice of the answers."""

from collections.abc import AsyncIterator
from typing import Any, Final

import orjson

from consumers.stages.context import StageJob
from consumers.stages.cutting import Cutting, lines_a_slice
from consumers.stages.ports import Ports, needs
from schemas.kinds.calibration import CalibrationInput, CalibrationPlanned
from schemas.kinds.evaluation.graders import LabelModel, ModelGrader
from schemas.kinds.evaluation.judge import JudgeInput
from schemas.outcomes import Child, FanOut, Outcome

NEEDS: Final = needs(Ports.blobs)

VARIANT: Final = "judged"


async def run(job: StageJob[CalibrationInput, None], ports: Ports) -> Outcome:
    """The answers as lines of an evaluation, and the judge's work on them. Raises `ModelNotFound`."""
    request = job.input
    ports.deployment.models.wanted(request.judge.model.partition(":")[0], "chat", field="input.judge.model")
    graders = _graders(request)
    metrics = [] if request.metric is None else [request.metric]
    blob = f"{job.folder}/scored.jsonl"
    cutting = Cutting(lines_a_slice(1))
    await ports.blobs.put_stream(blob, cutting.through(_lines(request, [*metrics, *(one.name for one in graders)])))
    children = [
        Child(
            "evaluation",
            JudgeInput(judge=request.judge, slice=part, metrics=metrics, graders=graders, run=job.id),
            key=f"judge/{n}",
            stage="judge",
        )
        for n, part in enumerate(cutting.slices(blob))
    ]
    return FanOut(children, then="report", carry=CalibrationPlanned(lines=blob))


def reversed_name(name: str) -> str:
    """The name of the same grader with its labels the other way round."""
    return f"{name[:30]}_reversed"


def _graders(request: CalibrationInput) -> list[ModelGrader]:
    grader = request.grader
    if not isinstance(grader, LabelModel):
        return [] if grader is None else [grader]
    return [grader, grader.model_copy(update={"name": reversed_name(grader.name), "labels": grader.labels[::-1]})]


async def _lines(request: CalibrationInput, names: list[str]) -> AsyncIterator[bytes]:
    for row, item in enumerate(request.items, start=1):
        line: dict[str, Any] = {
            "item": item.id or str(row),
            "row": row,
            "variant": VARIANT,
            "question": item.question,
            "references": [item.reference] if item.reference else [],
            "state": "succeeded",
            "answer": item.answer,
            "found": bool(item.answer.strip()),
            "contexts": item.contexts,
            "scores": dict.fromkeys(names),
        }
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
