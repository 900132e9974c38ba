"""The last stage of `inference`: answers from the passages found, with citations."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.inference.onward import milliseconds
from consumers.stages.ports import Ports, needs
from schemas.errors import InvalidInput
from schemas.kinds.inference import Citation, Found, Generate, InferenceInput, InferenceResult, TokenUsage
from schemas.outcomes import Done, Outcome
from schemas.text import TextOptions

NEEDS: Final = needs(Ports.adapters, Ports.answerer)


async def run(job: StageJob[InferenceInput, Found], ports: Ports) -> Outcome:
    """Generate. Raises `InvalidInput` (`model_unknown`) when the request names an unknown model."""
    request = job.input
    wanted = request.generate or Generate()
    # The gateway has found the model of other jobs.
    if job.model is None and wanted.model not in ("default", ports.answerer.name):
        why = f"no model {wanted.model!r} here; use 'default' or {ports.answerer.name!r}"
        raise InvalidInput(why, code="model_unknown", field="input.generate.model")
    options = TextOptions(max_tokens=wanted.max_tokens, temperature=wanted.temperature, lane=job.lane)
    began = perf_counter()
    transcript = job.transcript if wanted.stream else None
    async with ports.adapters.ready(job.tenant, job.model, wanted.model) as adapter:
        if adapter is not None:
            options = replace(options, adapter=adapter.where)
        answer = await ports.answerer.answer(
            request.question, job.carry.passages, options, by=job.requester, transcript=transcript
        )
    if transcript is not None:
        await transcript.settle(answer.text if answer.written is None else answer.written)
    timings = dict(job.carry.timings_ms)
    timings["generate"] = round((perf_counter() - began) * 1000, 3)
    timings["total"] = milliseconds(job.created_at, datetime.now(UTC))
    numbers = range(1, len(answer.citations) + 1) if answer.numbers is None else answer.numbers
    result = InferenceResult(
        answer=answer.text,
        found=answer.found,
        citations=[
            Citation(**asdict(passage), streamed_as=number if wanted.stream else None)
            for passage, number in zip(answer.citations, numbers, strict=True)
        ],
        model=answer.model if adapter is None else adapter.name,
        usage=TokenUsage(**asdict(answer.usage)),
        finish_reason=answer.finish_reason,
        citations_dropped=answer.citations_dropped,
        timings_ms=timings,
    )
    return Done(result.model_dump())
