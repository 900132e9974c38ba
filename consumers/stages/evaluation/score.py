"""The second stage of `evaluation`: scores all answers, a page of children at a time.

What only a model can score goes on to children, a slice of answers each; else the answers are published at once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import orjson

from consumers.scoring.given import texts
from consumers.stages.answers import Answer, answer_of
from consumers.stages.context import StageJob
from consumers.stages.cutting import Cutting, lines_a_slice
from consumers.stages.evaluation.affording import Bill, left_of
from consumers.stages.evaluation.questions import counted, more_questions
from consumers.stages.evaluation.reuse import Memory
from consumers.stages.evaluation.rounds import answered, once_more
from consumers.stages.evaluation.slicing import children, needs_models
from consumers.stages.lines import read_lines
from consumers.stages.ports import Ports, needs
from consumers.stages.ports.scorer import Scored as Scores
from consumers.stages.ports.scorer import ToScore
from schemas.errors import DocumentRefused
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Planned, Scored, Source, ToCollect
from schemas.kinds.evaluation.items import Item
from schemas.kinds.evaluation.judge import CEILING
from schemas.kinds.evaluation.metrics import metric
from schemas.morphemes import Morpheme
from schemas.outcomes import FanOut, Next, Outcome
from schemas.topics import Lane

NEEDS: Final = needs(
    Ports.answers, Ports.blobs, Ports.catalogue, Ports.children, Ports.files, Ports.morphemes, Ports.scorer
)

AT_ONCE: Final = 200
"""Answers that are analysed and scored together: one trip to a Kiwi process, and little memory."""

AHEAD: Final = 2
"""Groups that are analysed while one is scored: Kiwi's processes and this one share the cores."""

PURPOSE: Final = "evaluation"
ITEMS_TYPE: Final = "application/x-ndjson; charset=utf-8"

One = tuple[Item, str, Answer]
"""An item, the name of a variant, and its answer."""


async def run(job: StageJob[EvaluationInput, Planned], ports: Ports) -> Outcome:
    """Publish `items.jsonl`, a line for each answer in the order of items and variants; or have models score it.

    Before, questions that failed although trying again can help are asked once more. A run with a ceiling asks its next
    questions first.
    """
    planned = await counted(job, ports)
    if (onward := await more_questions(job.input, planned, ports) or await once_more(job, planned, ports)) is not None:
        return onward
    cutting = Cutting(lines_a_slice(len(job.carry.metrics)))
    bill = Bill()
    scored = _scored(job, ports, bill)
    if not needs_models(job.input, job.carry):
        file = await ports.files.publish(scored, "items.jsonl", PURPOSE, content_type=ITEMS_TYPE)
        return Next("report", Scored(sources=[Source(file=file)], planned=job.carry))
    lines = f"{job.folder}/scored.jsonl"
    await ports.blobs.put_stream(lines, cutting.through(scored), content_type=ITEMS_TYPE)
    allowance = left_of(job.input, bill.tokens, bill.cost)
    slices = children(job.id, job.input, job.carry, cutting, lines, allowance)
    return FanOut(slices, then="collect", carry=ToCollect(lines=lines, planned=job.carry), lane=Lane.BULK)


async def _scored(job: StageJob[EvaluationInput, Planned], ports: Ports, bill: Bill) -> AsyncIterator[bytes]:
    waiting: list[asyncio.Task[bytes]] = []
    total = job.carry.count * len(job.carry.metrics)
    done = 0
    try:
        async for group in _groups(job, ports, bill):
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


async def _groups(job: StageJob[EvaluationInput, Planned], ports: Ports, bill: Bill) -> AsyncIterator[list[One]]:
    """The answers beside their items: both come in the order of the items."""
    items = read_lines(ports.blobs, job.carry.items)
    item: Item | None = None
    group: list[One] = []
    memory = await Memory.of(job, ports)
    async for row, variant, child in answered(job, ports):
        while item is None or item.row < row:
            item = Item.model_validate_json(await anext(items))
        await memory.add(item.question, variant, child)
        answer = await answer_of(ports, child)
        if child.round:  # an answer that is reused was paid for by the run that got it
            bill.add(answer, ports.deployment.models)
        group.append((item, variant, answer))
        if len(group) == AT_ONCE:
            yield group
            group = []
    await memory.keep()
    if group:
        yield group


async def _lines(job: StageJob[EvaluationInput, Planned], ports: Ports, group: Sequence[One]) -> bytes:
    metrics = job.carry.metrics
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
    asked = [ToScore(metrics[variant], item, answer.given, answer.contexts) for item, variant, answer in group]
    scored = await ports.scorer.score(asked, job.input.graders, cut, by=job.requester)
    return await asyncio.to_thread(lambda: b"".join(map(_line, group, scored)))


def _line(one: One, values: Scores) -> bytes:
    item, variant, answer = one
    given = answer.given
    if answer.error is not None and answer.error["code"] == CEILING:
        values = dict.fromkeys(values)  # a question that was not asked has not failed either
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
