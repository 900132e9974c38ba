"""Where an inference job goes with the passages found: to another stage, or to its end."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from consumers.stages.context import StageJob
from schemas.kinds.inference import Asked, Citation, Found, InferenceInput, InferenceResult, ToGenerate
from schemas.outcomes import Done, Next, Outcome
from schemas.retrieval import Passage


def onward(
    job: StageJob[InferenceInput, Any],
    passages: Sequence[Passage],
    asked: Asked,
    *,
    rerank: bool = False,
) -> Outcome:
    """To `rerank` if there is something to rerank; to `generate`; or `Done` when nothing is to be generated."""
    carried = {"passages": list(passages), **asked.model_dump(include=set(Asked.model_fields))}
    if rerank and passages:
        return Next("rerank", Found(**carried))
    if job.input.generate is not None:
        return Next("generate", ToGenerate(**carried))
    result = InferenceResult(
        answer=None,
        found=bool(passages),
        citations=[Citation(**asdict(passage)) for passage in passages],
        model=None,
        timings_ms={**asked.timings_ms, "total": milliseconds(job.created_at, datetime.now(UTC))},
    )
    return Done(result.model_dump())


def milliseconds(start: datetime, end: datetime) -> float:
    """The time between two moments; never below 0, because they may come from the clocks of two machines."""
    return max(0.0, round((end - start).total_seconds() * 1000, 3))
