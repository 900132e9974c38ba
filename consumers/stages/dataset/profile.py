"""The first stage of `dataset`: reads every row, compares the rows, and has questions looked for in a collection."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, Final

import orjson

from consumers.stages.collections import named_collection
from consumers.stages.computing import computed
from consumers.stages.context import StageJob
from consumers.stages.dataset.reading import Given, Problem, rows
from consumers.stages.dataset.rows import Row
from consumers.stages.pieces import pieces
from consumers.stages.ports import Ports, needs
from consumers.stages.tables import Table
from schemas.errors import InvalidInput
from schemas.kinds.dataset import DatasetInput, Finding, Form, Profiled
from schemas.kinds.evaluation.items import MAX_ITEMS
from schemas.kinds.inference import InferenceInput
from schemas.outcomes import Child, FanOut, Next, Outcome
from schemas.topics import Lane

if TYPE_CHECKING:
    from consumers.stages.dataset.checks import Apart, Checks

NEEDS: Final = needs(Ports.blobs, Ports.catalogue, Ports.datasets, Ports.examples, Ports.files)

KNOWN_AT_ONCE: Final = 500
JSON_LINES: Final = "application/x-ndjson"

Job = StageJob[DatasetInput, None]


@dataclass(slots=True)
class _Asked:
    """The questions that are to be looked for, in the order of their rows, and the documents that they name."""

    rows: list[Row] = field(default_factory=list)
    relevant: set[str] = field(default_factory=set)


async def run(job: Job, ports: Ports) -> Outcome:
    """Write the findings to a blob, and make a child for each answerable question if a collection is named.

    Raises `InvalidInput` with `dataset_empty`, `dataset_too_large`, `dataset_format_unknown`, `form_wrong` or what the
    reader says, and `NotFound` (`file_not_found`, `collection_not_found`).
    """
    # Imported here: without the group `cpu` a worker says what it lacks when it opens its ports.
    from consumers.stages.dataset.checks import Checks

    request = job.input
    if request.collection is not None:
        await named_collection(ports, job.tenant, request.collection)
    apart = None if request.against is None else await _apart(job, ports, Given(request.against, "against"))
    checks, asked = Checks(request.similarity, apart), _Asked()
    findings = f"{job.folder}/findings.jsonl"
    given = Given(request.dataset, "dataset")
    with NamedTemporaryFile() as file:
        async with given.opened(ports) as table:
            form = await _form(job, ports, table)
            async for batch in rows(job, ports, table, given, form):
                await computed(_check, checks, batch, file, asked if request.collection else None)
        if not checks.rows:
            raise InvalidInput("the dataset holds no row", code="dataset_empty", field="input.dataset")
        await job.report(0, 0, "comparing the rows")
        await computed(_write, checks.finish(), file)
        _write(await _unknown(job, ports, asked), file)
        file.flush()
        await ports.blobs.put_stream(findings, pieces(Path(file.name)), content_type=JSON_LINES)
    profiled = Profiled(
        form=form,
        rows=checks.rows,
        sha256=table.sha256,
        findings=findings,
        lengths=checks.lengths(),
        languages=checks.languages(),
        warnings=_warnings(form, checks),
    )
    if request.collection is None:
        return Next("report", profiled)
    profiled.questions, profiled.asked = f"{job.folder}/questions.jsonl", len(asked.rows)
    await ports.blobs.put_stream(profiled.questions, _questions(asked.rows), content_type=JSON_LINES)
    children = [
        Child(
            "inference",
            InferenceInput(collection=request.collection, question=row.asked, top_k=request.top_k, generate=None),
            key=str(row.number),
        )
        for row in asked.rows
    ]
    return FanOut(children, then="report", carry=profiled, lane=Lane.BULK) if children else Next("report", profiled)


async def _apart(job: Job, ports: Ports, given: Given) -> "Apart":
    from consumers.stages.dataset.checks import Apart

    apart = Apart()

    def remember(batch: Sequence[Row | Problem]) -> None:
        for row in batch:
            if isinstance(row, Row):
                apart.add(row)

    async with given.opened(ports) as table:
        form = await ports.datasets.form(table.path, given.dataset, table.format, by=job.requester)
        async for batch in rows(job, ports, table, given, form):
            await computed(remember, batch)
    return apart


async def _form(job: Job, ports: Ports, table: Table) -> Form:
    request = job.input
    if request.form != "auto":
        return request.form
    form = await ports.datasets.form(table.path, request.dataset, table.format, by=job.requester)
    if request.collection is not None and form != "questions":
        why = f"its columns are those of examples for `{form}`, and only questions are looked for in a collection"
        raise InvalidInput(why, code="form_wrong", field="input.collection")
    return form


def _check(checks: "Checks", batch: Sequence[Row | Problem], file: IO[bytes], asked: _Asked | None) -> None:
    for row in batch:
        if not isinstance(row, Row):
            _write([checks.wrong(row.row, row.message)], file)
            continue
        _write(checks.add(row), file)
        if asked is not None and row.answerable:
            asked.rows.append(row)
            asked.relevant.update(row.relevant)


def _write(findings: Iterable[Finding], file: IO[bytes]) -> None:
    for finding in findings:
        file.write(finding.model_dump_json(exclude_none=True).encode() + b"\n")


async def _unknown(job: Job, ports: Ports, asked: _Asked) -> list[Finding]:
    """Questions whose relevant documents the collection does not have."""
    collection, known = job.input.collection or "", set[str]()
    ids = sorted(asked.relevant)
    for first in range(0, len(ids), KNOWN_AT_ONCE):
        known |= set(await ports.catalogue.documents(job.tenant, collection, ids[first : first + KNOWN_AT_ONCE]))
    lost = ((row, [one for one in row.relevant if one not in known]) for row in asked.rows)
    why = f"the collection {collection!r} has no document {{id!r}}, which is said to be relevant"
    return [
        Finding(row=row.number, code="relevant_unknown", message=why.format(id=ids[0]), id=row.id)
        for row, ids in lost
        if ids
    ]


def _warnings(form: Form, checks: "Checks") -> list[str]:
    if form == "questions" and checks.checked > MAX_ITEMS:
        return [f"an evaluation takes {MAX_ITEMS:,} questions, and there are {checks.checked:,}: split the dataset"]
    return []


async def _questions(rows: Sequence[Row]) -> AsyncIterator[bytes]:
    """The rows as lines, in the order of the children: what tells whether a search found something."""
    for first in range(0, len(rows), KNOWN_AT_ONCE):
        yield b"".join(
            orjson.dumps(
                {"row": row.number, "id": row.id, "relevant": row.relevant, "answers": row.answers},
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for row in rows[first : first + KNOWN_AT_ONCE]
        )
