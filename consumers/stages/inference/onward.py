"""Where an inference job goes with the passages found: to another stage, or to its end."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from consumers.stages.context import StageJob
from schemas.kinds.inference import Citation, Found, InferenceInput, InferenceResult
from schemas.outcomes import Done, Next, Outcome
from schemas.retrieval import Passage


def onward(
    job: StageJob[InferenceInput, Any],
    passages: Sequence[Passage],
    timings: Mapping[str, float],
    *,
    rerank: bool = False,
) -> Outcome:
    """To `rerank` if there is something to rerank; to `generate`; or `Done` when nothing is to be generated."""
    carry = Found(passages=list(passages), timings_ms=dict(timings))
    if rerank and passages:
        return Next("rerank", carry)
    if job.input.generate is not None:
        return Next("generate", carry)
    result = InferenceResult(
        answer=None,
        found=bool(passages),
        citations=[Citation(**asdict(passage)) for passage in passages],
        model=None,
        timings_ms={**timings, "total": milliseconds(job.created_at, datetime.now(UTC))},
    )
    return Done(result.model_dump())


def milliseconds(start: datetime, end: datetime) -> float:
    """The time between two moments; never below 0, because they may come from the clocks of two machines."""
    return max(0.0, round((end - start).total_seconds() * 1000, 3))
