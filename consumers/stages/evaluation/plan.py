"""The first stage of `evaluation`: checks the dataset, and asks its questions in each way."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.evaluation.affording import check_prices
from consumers.stages.evaluation.questions import Way, first_questions
from consumers.stages.evaluation.reuse import digests, take_known
from consumers.stages.ports import Ports, needs
from consumers.stages.tables import opened, unusable
from schemas.errors import InvalidInput
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Planned, Scored, Source
from schemas.kinds.evaluation.items import MAX_DATASET_BYTES, MAX_ITEMS, Dataset, Item, ItemProblem
from schemas.kinds.evaluation.metrics import Needs, metric
from schemas.outcomes import FanOut, Next, Outcome
from schemas.topics import Lane

NEEDS: Final = needs(Ports.answers, Ports.blobs, Ports.catalogue, Ports.datasets, Ports.files)

MAX_ANSWERS: Final = 100_000
"""Items times variants: as many children as one fan-out may have."""


async def run(job: StageJob[EvaluationInput, None], ports: Ports) -> Outcome:
    """Read the whole dataset before anything is asked; then a question per item and variant, in the bulk lane.

    A question whose answer an earlier evaluation has is not asked, unless the input says `reuse: false`. With a ceiling
    only the first questions are asked here.

    Raises `InvalidInput` with `dataset_invalid`, `dataset_empty`, `dataset_too_large`, `dataset_format_unknown`,
    `metric_not_possible`, `price_missing` or what the reader says, and `NotFound` (`file_not_found`).
    """
    request = job.input
    if request.runs is not None:
        sources = [Source(file=run.items_file, variant=run.variant, name=run.name) for run in request.runs]
        return Next("report", Scored(sources=sources))
    check_prices(request, ports.deployment.models)
    items = await _items(job, ports)
    ways = request.ways
    if len(items) * len(ways) > MAX_ANSWERS:
        why = (
            f"{len(items):,} items times {len(ways)} variants are more than {MAX_ANSWERS:,} answers: split the dataset"
        )
        raise InvalidInput(why, code="dataset_too_large", field="input.dataset")
    embeds = ports.deployment.embedder is not None
    metrics = {way.name: _metrics(request, way, items, embeds=embeds) for way in ways}
    key = f"{job.folder}/items.jsonl"
    hashed = hashlib.sha256()
    await ports.blobs.put_stream(key, _lines(items, hashed.update), content_type="application/x-ndjson")
    digest = await digests(request, ports, job.tenant)
    reused = f"{job.folder}/reused.jsonl"
    known = await take_known(job, ports, items, digest, reused)
    children, waves = first_questions(request, items, known)
    planned = Planned(
        items=key,
        count=len(items),
        unanswerable=sum(not item.answerable for item in items),
        metrics=metrics,
        ways=digest,
        reused=reused if known else None,
        reused_count=len(known),
        sha256=hashed.hexdigest(),
        waves=waves,
    )
    # Of whatever size: a few hundred questions must not delay people who wait for one.
    return FanOut(children, then="score", carry=planned, lane=Lane.BULK)


async def _items(job: StageJob[EvaluationInput, None], ports: Ports) -> list[Item]:
    request = job.input
    if request.items is not None:
        items = [one.item(row) for row, one in enumerate(request.items, start=1)]
        seen: dict[str, int] = {}
        problems = [
            ItemProblem(row=item.row, code="id_repeated", message=f"item {item.row} repeats the id {item.id!r}")
            for item in items
            if seen.setdefault(item.id, item.row) != item.row
        ]
    else:
        assert request.dataset is not None
        items, problems = await _read(job, ports, request.dataset)
    problems += _without_reference(items)
    if problems:
        messages = [problem.message for problem in sorted(problems, key=lambda one: one.row)]
        raise unusable(messages, len(problems), field="input.dataset")
    if not items:
        raise InvalidInput("the dataset holds no item", code="dataset_empty", field="input.dataset")
    return items


async def _read(
    job: StageJob[EvaluationInput, None], ports: Ports, dataset: Dataset
) -> tuple[list[Item], list[ItemProblem]]:
    items: list[Item] = []
    problems: list[ItemProblem] = []
    async with opened(
        ports,
        dataset.file,
        dataset.format,
        most=MAX_DATASET_BYTES,
        field="input.dataset.file",
        format_field="input.dataset.format",
    ) as table:
        rows: AsyncGenerator[list[Item | ItemProblem]] = ports.datasets.items(
            table.path, dataset, table.format, by=job.requester
        )
        async with aclosing(rows) as batches:
            async for batch in batches:
                items += [row for row in batch if isinstance(row, Item)]
                problems += [row for row in batch if isinstance(row, ItemProblem)]
                if len(items) > MAX_ITEMS:
                    why = f"the dataset has more than {MAX_ITEMS:,} items: split it"
                    raise InvalidInput(why, code="dataset_too_large", field="input.dataset.file")
                await job.report(len(items), 0, "reading the dataset")
    return items, problems


def _without_reference(items: Sequence[Item]) -> list[ItemProblem]:
    """Answerable items that have no reference although others do: most likely one was forgotten."""
    if not any(item.references for item in items):
        return []
    why = "has no reference; add one, or say `answerable: false`"
    return [
        ItemProblem(row=item.row, code="reference_missing", message=f"row {item.row} {why}")
        for item in items
        if item.answerable and not item.references
    ]


def _metrics(request: EvaluationInput, way: Way, items: Sequence[Item], *, embeds: bool) -> list[str]:
    """The metrics of a variant. Raises `InvalidInput` for one that was asked for and that no variant can have."""
    there = {
        Needs.REFERENCE: any(item.answerable and item.references for item in items),
        Needs.RELEVANT: any(item.relevant for item in items),
        Needs.ANSWERABLE: any(item.answerable for item in items),
        Needs.UNANSWERABLE: any(not item.answerable for item in items),
        Needs.NOTHING: True,
    }
    found = []
    for name in request.wanted_metrics:
        wanted = metric(name)
        if wanted.embeds and not embeds:
            if request.metrics is not None:
                why = f"the metric {name!r} compares texts by meaning: set WELIP_EMBEDDER, for example to e5-small"
                raise InvalidInput(why, code="metric_not_possible", field="input.metrics")
            continue
        if request.metrics is not None and not there[wanted.needs]:
            why = f"the metric {name!r} needs items with {wanted.needs}, and the dataset has none"
            raise InvalidInput(why, code="metric_not_possible", field="input.metrics")
        fits = (way.generates or not wanted.generates) and (way.retrieves or not wanted.retrieves)
        if fits and there[wanted.needs]:
            found.append(name)
    if request.metrics is not None and not found:
        why = f"the variant {way.name!r} can have none of the metrics: it makes no answers, or retrieves nothing"
        raise InvalidInput(why, code="metric_not_possible", field="input.metrics")
    return found


async def _lines(items: Sequence[Item], seen: Callable[[bytes], None]) -> AsyncIterator[bytes]:
    for first in range(0, len(items), 500):
        lines = b"".join(item.model_dump_json().encode() + b"\n" for item in items[first : first + 500])
        seen(lines)
        yield lines
