"""The last stage of `synthesis`: accepts the questions whose passage is found, and publishes them and a review file."""

import csv
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from io import StringIO
from typing import Any, Final

import orjson

from consumers.stages.answers import result_of
from consumers.stages.context import StageJob
from consumers.stages.lines import read_lines
from consumers.stages.ports import ChildSummary, Ports, needs
from consumers.stages.synthesis.verify import FATAL
from schemas.kinds.inference import InferenceResult
from schemas.kinds.synthesis import SynthesisInput, SynthesisResult, Written
from schemas.outcomes import Done, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.children, Ports.files)

PURPOSE: Final = "evals"
"""Also of the review file: both are datasets."""

COLUMNS: Final = ("accepted", "flags", "question", "reference", "relevant", "rank", "passage", "title", "id")

Job = StageJob[SynthesisInput, Written]
Line = dict[str, Any]


async def run(job: Job, ports: Ports) -> Outcome:
    """Publish `questions.jsonl` and `review.csv`."""
    written = job.carry
    lines = [orjson.loads(line) async for line in read_lines(ports.blobs, written.questions)]
    if written.searched:
        searched = (line for line in lines if not FATAL & set(line["flags"]))
        async for child in ports.children.results(job.id):
            line = next(searched)
            assert child.key == line["id"]  # both are in the order of the passages
            line["rank"] = await _rank(ports, child, line)
            if line["rank"] is None:
                line["flags"].append("not_retrieved")
    accepted = [line for line in lines if not line["flags"]][: job.input.count]
    questions = await ports.files.publish(
        _questions(accepted), f"questions-{job.input.collection}.jsonl", PURPOSE, content_type="application/x-ndjson"
    )
    ids = {line["id"] for line in accepted}
    review = await ports.files.publish(
        _review(lines, ids), f"review-{job.input.collection}.csv", PURPOSE, content_type="text/csv; charset=utf-8"
    )
    await ports.blobs.delete(written.questions)
    result = SynthesisResult(
        passages=written.count,
        accepted=len(accepted),
        flags=dict(Counter(flag for line in lines for flag in line["flags"]).most_common()),
        model=written.model,
        usage=written.usage,
        questions_file=questions,
        review_file=review,
    )
    return Done(result.model_dump())


async def _rank(ports: Ports, child: ChildSummary, line: Line) -> int | None:
    """The place, from 1, of the first passage found that overlaps the one that the question is about."""
    told = await result_of(ports, child)
    if told is None:
        return None
    for rank, found in enumerate(InferenceResult.model_validate(told).citations, start=1):
        if found.document_id == line["document"] and found.start < line["end"] and line["start"] < found.end:
            return rank
    return None


async def _questions(lines: Sequence[Line]) -> AsyncIterator[bytes]:
    """Rows of a dataset, as an evaluation takes them."""
    for line in lines:
        row = {
            "id": f"{line['document']}#{line['start']}"[-200:],
            "question": line["question"],
            "reference": line["answer"],
            "relevant": [line["document"]],
            "document": line["document"],
            "metadata": {"rank": line["rank"], "start": line["start"], "end": line["end"]},
            "passage": line["text"],
        }
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


async def _review(lines: Sequence[Line], accepted: set[str]) -> AsyncIterator[bytes]:
    """All of them as a table for people; it begins with a mark, without which Excel takes Korean for CP949."""
    yield "\ufeff".encode()
    for row in _rows(lines, accepted):
        yield row.encode()


def _rows(lines: Sequence[Line], accepted: set[str]) -> Iterator[str]:
    buffer = StringIO()
    table = csv.writer(buffer)
    table.writerow(COLUMNS)
    for line in lines:
        table.writerow(
            (
                "yes" if line["id"] in accepted else "no",
                " ".join(line["flags"]),
                line["question"],
                line["answer"],
                line["document"],
                line.get("rank") or "",
                line["text"],
                line["title"] or "",
                f"{line['document']}#{line['start']}"[-200:],
            )
        )
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
