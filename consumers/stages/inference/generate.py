"""The stage of `inference` that has a model write: the question to search for, then the answer, with citations."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.inference.onward import milliseconds
from consumers.stages.ports import Ports, needs
from schemas.adapters import ReadyAdapter
from schemas.errors import EngineReplyBroken, EngineReplyCut, EngineReplyEmpty, InvalidInput
from schemas.kinds.formats import BySchema, JsonObject
from schemas.kinds.inference import (
    Citation,
    Generate,
    InferenceInput,
    InferenceResult,
    Resumed,
    Retrieved,
    ToGenerate,
    TokenUsage,
)
from schemas.outcomes import Done, Next, Outcome
from schemas.prompts import Wording
from schemas.retrieval import Passage
from schemas.text import Message, TextOptions

NEEDS: Final = needs(Ports.adapters, Ports.answerer)


async def run(job: StageJob[InferenceInput, ToGenerate], ports: Ports) -> Outcome:
    """Condense, and back to `retrieve`; or answer. Raises `InvalidInput` (`model_unknown`) for an unknown model."""
    request = job.input
    wanted = request.generate or Generate()
    # The gateway has found the model of other jobs.
    if job.model is None and wanted.model not in ("default", ports.answerer.name):
        why = f"no model {wanted.model!r} here; use 'default' or {ports.answerer.name!r}"
        raise InvalidInput(why, code="model_unknown", field="input.generate.model")
    async with _options(job, wanted, ports) as (options, adapter):
        if job.carry.passages is None:
            return await _condensed(job, options, ports)
        return await _answered(job, job.carry.passages, wanted, options, adapter, ports)


@asynccontextmanager
async def _options(
    job: StageJob[InferenceInput, ToGenerate], wanted: Generate, ports: Ports
) -> AsyncIterator[tuple[TextOptions, ReadyAdapter | None]]:
    form = wanted.response_format
    options = TextOptions(
        max_tokens=wanted.max_tokens,
        temperature=wanted.temperature,
        schema=form.json_schema.schema_ if isinstance(form, BySchema) else None,
        json_object=isinstance(form, JsonObject),
        lane=job.lane,
    )
    async with ports.adapters.ready(job.tenant, job.model, wanted.model) as adapter:
        yield options if adapter is None else replace(options, adapter=adapter.where), adapter


async def _condensed(job: StageJob[InferenceInput, ToGenerate], options: TextOptions, ports: Ports) -> Outcome:
    """Back to `retrieve` with the question to search for; with none, it is the question as it was asked."""
    began = perf_counter()
    try:
        found = await ports.answerer.condense(job.input.question, _history(job.input), options)
    except (EngineReplyBroken, EngineReplyCut, EngineReplyEmpty):
        found = None
    timings = {**job.carry.timings_ms, "condense": round((perf_counter() - began) * 1000, 3)}
    if found is None:
        return Next("retrieve", Resumed(condensed=True, timings_ms=timings))
    usage = TokenUsage(**asdict(found.usage))
    return Next("retrieve", Resumed(search_question=found.question, condensed=True, usage=usage, timings_ms=timings))


async def _answered(
    job: StageJob[InferenceInput, ToGenerate],
    passages: Sequence[Passage],
    wanted: Generate,
    options: TextOptions,
    adapter: ReadyAdapter | None,
    ports: Ports,
) -> Outcome:
    request, carry, began = job.input, job.carry, perf_counter()
    transcript = job.transcript if wanted.stream else None
    answer = await ports.answerer.answer(
        request.question,
        passages,
        options,
        by=job.requester,
        transcript=transcript,
        wording=Wording(wanted.prompt, wanted.variables, _history(request)),
    )
    if transcript is not None:
        await transcript.settle(answer.text if answer.written is None else answer.written)
    timings = dict(carry.timings_ms)
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
        usage=TokenUsage(
            prompt_tokens=carry.usage.prompt_tokens + answer.usage.prompt_tokens,
            completion_tokens=carry.usage.completion_tokens + answer.usage.completion_tokens,
        ),
        finish_reason=answer.finish_reason,
        citations_dropped=answer.citations_dropped,
        search_question=carry.search_question,
        timings_ms=timings,
        retrieved=_retrieved(passages) if request.retrieved else None,
    )
    return Done(result.model_dump())


def _history(request: InferenceInput) -> list[Message]:
    return [Message(turn.role, turn.content) for turn in request.messages]


def _retrieved(passages: Sequence[Passage]) -> list[Retrieved]:
    return [Retrieved(document_id=p.document_id, chunk_id=p.chunk_id, text=p.text, score=p.score) for p in passages]
