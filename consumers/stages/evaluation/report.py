"""The last stage of `evaluation`: figures, comparisons and gates from the scores, as a result, a page and tables."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Final

import orjson

from consumers.stages.computing import computed
from consumers.stages.context import StageJob
from consumers.stages.evaluation.page import page
from consumers.stages.evaluation.parquet import ItemsParquet
from consumers.stages.evaluation.score import PURPOSE
from consumers.stages.evaluation.tracked import track
from consumers.stages.lines import read_lines
from consumers.stages.pieces import pieces, whole
from consumers.stages.ports import Ports, needs
from schemas.errors import InvalidInput, NotFound
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Scored, Source
from schemas.kinds.evaluation.result import EvaluationResult
from schemas.outcomes import Done, Outcome

if TYPE_CHECKING:
    from consumers.scoring.table import ScoreTable

NEEDS: Final = needs(Ports.blobs, Ports.files, Ports.tracker)

LINES_AT_ONCE: Final = 500
MAX_CONTEXTS: Final = 5
MAX_CONTEXT_CHARS: Final = 600

Line = dict[str, Any]


async def run(job: StageJob[EvaluationInput, Scored], ports: Ports) -> Outcome:
    """Read the items files once, as numbers, and publish `report.html`, `figures.json` and `items.parquet`.

    Raises `NotFound` and `InvalidInput` (`items_file_wrong`, `variant_not_found`) for an earlier run that is no run.
    """
    from consumers.scoring.telling import told_by

    request, carry = job.input, job.carry
    await job.report(0, 0, "reading the scores")
    parquet_file: str | None = None
    if carry.planned is None:
        tables = [table for source in carry.sources for table in await _tables(job, ports, source)]
    else:
        graders = [one.name for one in request.graders]
        names = [*dict.fromkeys(name for known in carry.planned.metrics.values() for name in known), *graders]
        with NamedTemporaryFile() as file:
            parquet = ItemsParquet(Path(file.name), names)
            tables = await _tables(job, ports, carry.sources[0], parquet.write)
            await asyncio.to_thread(parquet.close)
            parquet_file = await ports.files.publish(
                pieces(Path(file.name)), "items.parquet", PURPOSE, content_type="application/vnd.apache.parquet"
            )
    others = await _others(job, ports)
    await job.report(0, 0, "computing the figures")
    told, figures = await computed(told_by, request, carry.planned, tables, others, carry.judged)
    json_file = await ports.files.publish(
        whole(orjson.dumps(figures, option=orjson.OPT_INDENT_2)),
        "figures.json",
        PURPOSE,
        content_type="application/json",
    )
    html = await computed(page, request, figures)
    html_file = await ports.files.publish(
        whole(html.encode()), "report.html", PURPOSE, content_type="text/html; charset=utf-8"
    )
    if carry.planned is not None:
        for blob in (carry.planned.items, carry.planned.reused):
            if blob is not None:
                await ports.blobs.delete(blob)
    if carry.scratch is not None:
        await ports.blobs.delete(carry.scratch)
    result = EvaluationResult(
        **told,
        report=html_file,
        figures=json_file,
        items_file=carry.sources[0].file if carry.planned is not None else None,
        items_parquet=parquet_file,
    )
    if carry.planned is not None:
        result.tracking = await track(job, ports.tracker, carry.planned, result)
    return Done(result.model_dump())


async def _others(job: StageJob[EvaluationInput, Scored], ports: Ports) -> "dict[tuple[str, str], ScoreTable]":
    """The tables of earlier runs that gates compare with, by their file and variant."""
    found: dict[tuple[str, str], ScoreTable] = {}
    for file in dict.fromkeys(gate.other_run for gate in job.input.gates if gate.other_run is not None):
        for table in await _tables(job, ports, Source(file=file)):
            found[file, table.variant] = table
            found.setdefault((file, ""), table)
    return found


async def _tables(
    job: StageJob[EvaluationInput, Scored],
    ports: Ports,
    source: Source,
    each: Callable[[Sequence[Line]], None] | None = None,
) -> "list[ScoreTable]":
    """The tables of the wanted variants of an items file. `each` gets all lines, some at a time, in a thread."""
    # Imported here, as in `score`: without the group `cpu` a worker says what it lacks when it opens its ports.
    from consumers.scoring.table import ScoreTable

    try:
        stored = await ports.files.find(source.file)
    except NotFound as error:
        raise NotFound(f"there is no items file {source.file!r}", code="file_not_found", field="input.runs") from error
    if stored.purpose != PURPOSE or stored.filename != "items.jsonl":
        why = f"{source.file} is no items file: give the `items_file` of an evaluation's result"
        raise InvalidInput(why, code="items_file_wrong", field="input.runs")
    metrics = job.input.metrics
    primary = metrics[0] if metrics else None
    tables: dict[str, ScoreTable] = {}

    def take(batch: Sequence[bytes]) -> None:
        lines: list[Line] = [orjson.loads(one) for one in batch]
        for line in lines:
            name = line["variant"]
            if source.name is not None and name != (source.variant or next(iter(tables), name)):
                continue
            if name not in tables:
                tables[name] = ScoreTable(source.name or name, primary=primary, group_by=job.input.breakdown)
            tables[name].add({**line, "contexts": [one[:MAX_CONTEXT_CHARS] for one in line["contexts"][:MAX_CONTEXTS]]})
        if each is not None:
            each(lines)

    batch: list[bytes] = []
    async for raw in read_lines(ports.blobs, stored.blob):
        batch.append(raw)
        if len(batch) == LINES_AT_ONCE:
            await asyncio.to_thread(take, batch)
            batch = []
    await asyncio.to_thread(take, batch)
    if not tables:
        why = f"the run {source.name!r} has no variant {source.variant!r}"
        raise InvalidInput(why, code="variant_not_found", field="input.runs")
    return list(tables.values())
