"""The second stage of `evaluation`: scores all answers and publishes them, a page of children at a time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import orjson

from consumers.scoring.given import texts
from consumers.stages.context import StageJob
from consumers.stages.evaluation.answers import Answer, answer_of
from consumers.stages.evaluation.reuse import Memory
from consumers.stages.evaluation.rounds import answered, once_more
from consumers.stages.lines import read_lines
from consumers.stages.ports import Ports, needs
from schemas.errors import DocumentRefused
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Planned, Scored, Source
from schemas.kinds.evaluation.graders import Grader
from schemas.kinds.evaluation.items import Item
from schemas.kinds.evaluation.metrics import metric
from schemas.morphemes import Morpheme
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.answers, Ports.blobs, Ports.catalogue, Ports.children, Ports.files, Ports.morphemes)

AT_ONCE: Final = 200
"""Answers that are analysed and scored together: one trip to a Kiwi process, and little memory."""

AHEAD: Final = 2
"""Groups that are analysed while one is scored: Kiwi's processes and this one share the cores."""

PURPOSE: Final = "evaluation"

One = tuple[Item, str, Answer]
"""An item, the name of a variant, and its answer."""


async def run(job: StageJob[EvaluationInput, Planned], ports: Ports) -> Outcome:
    """Publish `items.jsonl`, a line for each answer in the order of items and variants.

    Questions that failed although trying again can help are asked once more before.
    """
    if (again := await once_more(job, ports)) is not None:
        return again
    file = await ports.files.publish(
        _scored(job, ports), "items.jsonl", PURPOSE, content_type="application/x-ndjson; charset=utf-8"
    )
    return Next("report", Scored(sources=[Source(file=file)], planned=job.carry))


async def _scored(job: StageJob[EvaluationInput, Planned], ports: Ports) -> AsyncIterator[bytes]:
    waiting: list[asyncio.Task[bytes]] = []
    total = job.carry.count * len(job.carry.metrics)
    done = 0
    try:
        async for group in _groups(job, ports):
            waiting.append(asyncio.create_task(_lines(job, ports, group)))
            if len(waiting) > AHEAD:
                yield await waiting.pop(0)
                done += AT_ONCE
                await job.report(done, total, "scoring")
        while waiting:
            yield await waiting.pop(0)
    finally:
        for task in waiting:
            task.cancel()


async def _groups(job: StageJob[EvaluationInput, Planned], ports: Ports) -> AsyncIterator[list[One]]:
    """The answers beside their items: both come in the order of the items."""
    items = read_lines(ports.blobs, job.carry.items)
    item: Item | None = None
    group: list[One] = []
    memory = await Memory.of(job, ports)
    async for row, variant, child in answered(job, ports):
        while item is None or item.row < row:
            item = Item.model_validate_json(await anext(items))
        await memory.add(item.question, variant, child)
        group.append((item, variant, await answer_of(ports, child)))
        if len(group) == AT_ONCE:
            yield group
            group = []
    await memory.keep()
    if group:
        yield group


async def _lines(job: StageJob[EvaluationInput, Planned], ports: Ports, group: Sequence[One]) -> bytes:
    metrics, graders = job.carry.metrics, job.input.graders
    reads = {variant for variant, names in metrics.items() if any(metric(name).morphemes for name in names)}
    wanted = sorted(
        {
            text
            for item, variant, answer in group
            if variant in reads and answer.given.succeeded
            for text in texts(item, answer.given)
            if text
        }
    )
    cut: dict[str, list[Morpheme]] = {}
    if wanted:
        analysed = await ports.morphemes.morphemes(wanted, by=job.requester)
        pairs = zip(wanted, analysed, strict=True)
        cut = {text: found for text, found in pairs if not isinstance(found, DocumentRefused)}
    return await asyncio.to_thread(lambda: b"".join(_line(metrics[one[1]], graders, one, cut) for one in group))


def _line(names: Sequence[str], graders: Sequence[Grader], one: One, cut: dict[str, list[Morpheme]]) -> bytes:
    # Imported here: it needs the group `cpu`, and a worker says what it lacks when it opens its ports.
    from consumers.scoring.graders import grades
    from consumers.scoring.items import scores

    item, variant, answer = one
    given = answer.given
    values = scores(names, item, given, cut.get) | grades(graders, item, given, answer.contexts)
    line: dict[str, Any] = {
        "item": item.id,
        "row": item.row,
        "variant": variant,
        "question": item.question,
        "references": item.references,
        "relevant": item.relevant,
        "answerable": item.answerable,
        "document": item.document,
        "metadata": item.metadata,
        "state": "succeeded" if given.succeeded else "failed",
        "error": answer.error,
        "answer": given.text,
        "found": given.found if given.succeeded else None,
        "documents": list(given.documents),
        "contexts": answer.contexts,
        "model": answer.model,
        "tokens": answer.tokens,
        "latency_ms": answer.latency_ms,
        "scores": {name: None if value is None else round(value, 6) for name, value in values.items()},
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
