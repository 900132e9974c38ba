"""A stage of `evaluation`'s children: the judge scores a slice of answers.

A slice that is tried again, after a kill or an outage, finds what the judge has said already.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from consumers.stages.context import StageJob
from consumers.stages.evaluation.judging.asking import Asker, Unscored
from consumers.stages.evaluation.judging.grading import grade
from consumers.stages.evaluation.judging.lines import Line, lines_of
from consumers.stages.evaluation.judging.ragas_metrics import load, ragas_score
from consumers.stages.naming import judge_name
from consumers.stages.ports import Embedder, Ports, needs
from schemas.errors import DependencyMissing, JobError
from schemas.kinds.evaluation.judge import NOT_APPLICABLE, JudgeInput, Scores, SliceResult
from schemas.kinds.evaluation.metrics import metric
from schemas.outcomes import Done, Outcome, Retry
from schemas.text import TextOptions

NEEDS: Final = needs(Ports.adapters, Ports.blobs, Ports.embedder, Ports.judgements, Ports.text_model)

ZERO_WITHOUT_ANSWER: Final = frozenset(
    {"answer_relevancy", "answer_accuracy", "answer_correctness", "factual_correctness"}
)
"""Metrics that an answer "not found" fails; the other ones say nothing about it."""


async def run(job: StageJob[JudgeInput, None], ports: Ports) -> Outcome:
    """Give every open score of the slice, all at once: how many calls go out is up to the model's gate.

    Raises what makes the slice wait or fail: an outage of the engine, `EngineClosed`.
    """
    asked, models = job.input, ports.deployment.models
    if any(metric(name).ragas for name in asked.metrics):
        try:
            await asyncio.to_thread(load)
        except DependencyMissing as error:
            return Retry(error)  # another worker of the model may have the group
    spec = models.find(asked.judge.model.partition(":")[0], "chat")
    result = SliceResult(answers={}, by=judge_name(asked.judge.model, asked.judge.version, models))
    async with ports.adapters.ready(job.tenant, job.model, asked.judge.model) as adapter:
        options = TextOptions(
            max_tokens=asked.judge.max_tokens,
            temperature=asked.judge.temperature,
            lane=job.lane,
            adapter=None if adapter is None else adapter.where,
        )
        asker = Asker(
            ports.text_model,
            ports.judgements,
            asked.run,
            (job.tenant, result.by, "" if adapter is None else adapter.name),
            options,
            asked.allowance,
            None if spec is None else spec.price,
        )
        await asker.begin()
        lines = [line async for line in lines_of(ports.blobs, asked.slice)]
        graders = {grader.name: grader for grader in asked.graders}
        wanted = {*graders, *asked.metrics}
        todo: list[tuple[Line, str, Awaitable[float | None]]] = []
        for line in lines:
            result.answers[line.key] = Scores()
            for name in line.open:
                if name in graders:
                    todo.append((line, name, grade(graders[name], line.places, asker)))
                elif name in wanted:
                    todo.append((line, name, _metric(name, line, asker, ports.embedder)))
        for (line, name, _), found in zip(todo, await _all([one for _, _, one in todo]), strict=True):
            told = result.answers[line.key]
            if isinstance(found, Unscored):
                told.unscored[name] = found.code
                result.messages.setdefault(found.code, str(found)[:500])
            elif found is None:
                told.unscored[name] = NOT_APPLICABLE
            else:
                told.scores[name] = round(found, 6)
    result.calls, result.cached = asker.calls, asker.cached
    return Done(result.model_dump())


async def _metric(name: str, line: Line, asker: Asker, embedder: Embedder | None) -> float | None:
    """The score of a metric; None where it says nothing about this answer."""
    row = metric(name)
    if row.generates and not line.text:
        return 0.0 if name in ZERO_WITHOUT_ANSWER else None
    if row.retrieves and not line.contexts:
        return 0.0
    given: Mapping[str, Any] = {
        "user_input": line.question,
        "response": line.text,
        "reference": line.references[0] if line.references else "",
        "retrieved_contexts": list(line.contexts),
    }
    return await ragas_score(name, given, asker, None if embedder is None else partial(embedded, embedder))


async def embedded(embedder: Embedder, texts: Sequence[str]) -> list[Sequence[float]]:
    """The vectors of texts. Raises `Unscored` for one that the model cannot take."""
    found = await embedder.embed_documents(texts)
    for one in found:
        if isinstance(one, JobError):
            raise Unscored(one.reason, one.message)
    return [one.dense for one in found if not isinstance(one, JobError)]


async def _all(works: Sequence[Awaitable[float | None]]) -> list[float | Unscored | None]:
    """What each gives. The first error but `Unscored` ends all of them and is raised."""
    tasks = [asyncio.ensure_future(_caught(work)) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _caught(work: Awaitable[float | None]) -> float | Unscored | None:
    try:
        return await work
    except Unscored as error:
        return error
