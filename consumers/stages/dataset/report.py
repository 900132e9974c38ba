"""The last stage of `dataset`: counts the findings, scores the dataset, and publishes what is wrong row by row."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import orjson

from consumers.scoring.texts import contains
from consumers.stages.answers import Answer, answer_of
from consumers.stages.context import StageJob
from consumers.stages.lines import read_lines
from consumers.stages.ports import Ports, Tracker, needs
from schemas.ids import shown
from schemas.kinds.dataset import (
    MAX_FINDINGS,
    PARTS,
    DatasetInput,
    DatasetResult,
    Finding,
    Profiled,
    Retrieval,
)
from schemas.outcomes import Done, Outcome
from schemas.tracking import MAIN, NewRun, Tracking, experiment_name

NEEDS: Final = needs(Ports.blobs, Ports.children, Ports.files, Ports.tracker)

PURPOSE: Final = "dataset"

Job = StageJob[DatasetInput, Profiled]


async def run(job: Job, ports: Ports) -> Outcome:
    """Publish `findings.jsonl` in the order of the rows, and hand the figures to the tracker."""
    profiled = job.carry
    await job.report(0, 0, "counting the findings")
    lines = [(orjson.loads(line)["row"], line) async for line in read_lines(ports.blobs, profiled.findings)]
    retrieval: Retrieval | None = None
    if profiled.questions is not None:
        retrieval, lost = await _looked_for(job, ports, profiled.questions)
        lines += [(one.row, one.model_dump_json(exclude_none=True).encode()) for one in lost]
    lines.sort(key=lambda one: one[0])
    tally = Tally(profiled.rows)
    for _, line in lines:
        tally.add(Finding.model_validate_json(line))
    file = await ports.files.publish(
        _joined([line for _, line in lines]), "findings.jsonl", PURPOSE, content_type="application/x-ndjson"
    )
    result = DatasetResult(
        form=profiled.form,
        rows=profiled.rows,
        sha256=profiled.sha256,
        score=tally.score,
        parts=tally.parts(apart=job.input.against is not None, answerable=bool(profiled.asked)),
        passed=not tally.counts["invalid"] and not tally.counts["leaked"] and tally.score >= job.input.min_score,
        counts=dict(tally.counts.most_common()),
        findings=tally.first,
        lengths=profiled.lengths,
        languages=profiled.languages,
        retrieval=retrieval,
        warnings=[*profiled.warnings, *_warnings(retrieval)],
        findings_file=file,
    )
    result.tracking = await _track(job, ports.tracker, result)
    for blob in (profiled.findings, profiled.questions):
        if blob is not None:
            await ports.blobs.delete(blob)
    return Done(result.model_dump())


class Tally:
    """Counts findings. A row counts once for each code, in each part, and in the score."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._wrong: dict[str, set[int]] = {}
        self.first: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        wrong = self._wrong.setdefault(finding.code, set())
        if finding.row not in wrong and len(wrong) < MAX_FINDINGS:
            self.first.append(finding)
        wrong.add(finding.row)

    @property
    def counts(self) -> Counter[str]:
        """Rows by code."""
        return Counter({code: len(rows) for code, rows in self._wrong.items()})

    @property
    def score(self) -> float:
        """The share of rows with which nothing is wrong."""
        return self._share(self._wrong)

    def parts(self, *, apart: bool, answerable: bool) -> dict[str, float | None]:
        """The share of rows with which nothing is wrong in one respect; None where it was not looked at."""
        looked_at: Mapping[str, bool] = {"apart": apart, "answerable": answerable}
        return {part: self._share(codes) if looked_at.get(part, True) else None for part, codes in PARTS.items()}

    def _share(self, codes: Iterable[str]) -> float:
        wrong = set[int]().union(*(self._wrong.get(code, set()) for code in codes))
        return round(1 - len(wrong) / self._rows, 4)


async def _looked_for(job: Job, ports: Ports, questions: str) -> tuple[Retrieval, list[Finding]]:
    """How many questions our own retrieval finds an answer to, and those of which it finds none."""
    lost: list[Finding] = []
    found = failed = 0
    if job.carry.asked:
        rows = read_lines(ports.blobs, questions)
        async for child in ports.children.results(job.id):
            row: dict[str, Any] = orjson.loads(await anext(rows))
            assert child.key == str(row["row"])  # both are in the order of the dataset
            answer = await answer_of(ports, child)
            if answer.error is not None:
                failed += 1
            elif (why := _missing(row, answer, job.input.top_k)) is None:
                found += 1
            else:
                lost.append(Finding(row=row["row"], code="not_retrieved", message=why, id=row["id"]))
    return Retrieval(asked=job.carry.asked, found=found, failed=failed), lost


def _missing(row: Mapping[str, Any], answer: Answer, top_k: int) -> str | None:
    """Why nothing that was retrieved answers the question; None if something does, as far as the row can tell."""
    if row["relevant"]:
        if set(row["relevant"]) & set(answer.given.documents):
            return None
        return f"none of its relevant documents is among the {top_k} passages that were found"
    if row["answers"]:
        if any(contains(text, wanted) for text in answer.contexts for wanted in row["answers"]):
            return None
        return f"none of the {top_k} passages that were found holds its reference"
    return None if answer.contexts else "no passage was found"


def _warnings(retrieval: Retrieval | None) -> list[str]:
    if retrieval is None or not retrieval.failed:
        return []
    return [f"{retrieval.failed:,} of {retrieval.asked:,} searches failed: they count neither way"]


async def _joined(lines: list[bytes]) -> AsyncIterator[bytes]:
    for first in range(0, len(lines), 1_000):
        yield b"".join(line + b"\n" for line in lines[first : first + 1_000])


async def _track(job: Job, tracker: Tracker, result: DatasetResult) -> Tracking | None:
    request = job.input
    params = {"form": result.form, "similarity": f"{request.similarity:g}"}
    if request.collection is not None:
        params |= {"collection": request.collection, "top_k": str(request.top_k)}
    tags = {
        "welip.kind": job.kind,
        "welip.file": request.dataset.file,
        "welip.file.sha256": result.sha256,
        "welip.findings_file": result.findings_file,
    }
    name = request.title or shown("job", job.id)
    run = await tracker.begin(NewRun(MAIN, request.experiment, name, tags=tags, params=params))
    if run is None:
        return None
    figures = {"score": result.score, "rows": float(result.rows), "passed": float(result.passed)}
    figures |= {f"part.{part}": share for part, share in result.parts.items() if share is not None}
    figures |= {f"rows.{code}": float(count) for code, count in result.counts.items()}
    for column, told in result.lengths.items():
        figures |= {f"{column}.{name}": float(value) for name, value in told.model_dump().items()}
    await tracker.log(MAIN, figures)
    return Tracking(experiment=experiment_name(job.tenant, request.experiment), run=str(run))
