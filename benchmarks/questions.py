"""How long users of WeLIP wait: a corpus is indexed and questions are answered over HTTP, on each broker.

`python -m benchmarks.questions --corpus train.tsv --corpus dev.tsv --questions dev.tsv` prints a table; its last line
is one JSON object. Apache Kafka is measured if Java and Maven are there; without them `kafka` is null. When the
questions are columns of an indexed corpus, it also reports how often a question's own passage is cited first.
"""

import argparse
import asyncio
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.local.child import free_port
from infra.local.kafka import KafkaServer
from infra.local.stack import Stack, StackOptions
from producers.client.async_ import AsyncClient
from producers.client.errors import JobFailed, WelipError
from producers.client.models import Job
from producers.client.sync import Client
from schemas.errors import DependencyMissing, JobError

COLLECTION = "benchmark"
READY_WITHIN_S = 120
ANSWER_WITHIN_S = 300
ELSEWHERE = ("POSTGRES_URL", "KAFKA_URL", "BLOBS_URL", "INDEX_URL", "AUTH", "URL", "API_KEY")
"""Settings that would move a part of the stack elsewhere and are ignored; all others apply."""
SHOWN = {
    "documents": "documents",
    "chunks": "chunks",
    "index_s": "indexing, s",
    "docs_per_s": "documents/s",
    "questions": "questions",
    "succeeded": "jobs that succeeded",
    "found": "answers found",
    "own_passage_first": "own passage cited first",
    "p50_ms": "submit to answer p50, ms",
    "p95_ms": "p95, ms",
    "p99_ms": "p99, ms",
    "questions_per_s": "questions/s",
}

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the id of the document that it was asked about, if that is indexed."""

    text: str
    own: str | None


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns that are used."""

    text: str
    question: str
    id: str


def main() -> int:
    """Exit status 0 when every job succeeded, 1 when one did not, 2 when nothing can be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.questions", description=__doc__)
    parser.add_argument("--corpus", type=Path, action="append", required=True, help=".tsv, .csv, .jsonl; repeat it")
    parser.add_argument("--questions", type=Path, required=True, help="a table with a column of questions")
    parser.add_argument("--text-column", default="Text")
    parser.add_argument("--question-column", default="Question")
    parser.add_argument("--id-column", default="ID")
    parser.add_argument("--count", type=int, default=200, help="questions, evenly spread over the table")
    parser.add_argument("--concurrency", type=int, default=8, help="questions under way at once")
    parser.add_argument(
        "--kafka", action=argparse.BooleanOptionalAction, help="also on Apache Kafka; default: where it can run"
    )
    given = parser.parse_args()
    for name in ELSEWHERE:
        os.environ.pop(f"WELIP_{name}", None)
    columns = Columns(given.text_column, given.question_column, given.id_column)
    found: dict[str, Any] = {"embedded": None, "kafka": None}
    try:
        questions = read_questions(given.questions, given.corpus, columns, given.count)
        for broker in ("embedded",) if given.kafka is False else ("embedded", "kafka"):
            try:
                with tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True) as folder:
                    found[broker] = measure(
                        broker, Path(folder), given.corpus, columns, questions, concurrency=given.concurrency
                    )
            except DependencyMissing as error:
                if given.kafka or broker == "embedded":
                    raise
                console.print(f"Apache Kafka is left out: {error.message}", soft_wrap=True)
    except (JobError, WelipError, OSError, ValueError) as error:
        print(f"benchmarks.questions: {error}", file=sys.stderr)
        return 2
    show(found)
    print(json.dumps(found))
    return 0 if all(one["succeeded"] == one["questions"] for one in found.values() if one) else 1


def measure(
    broker: str,
    folder: Path,
    corpora: Sequence[Path],
    columns: Columns,
    questions: Sequence[Question],
    *,
    concurrency: int,
) -> dict[str, Any]:
    """The figures of one stack, from an empty folder through indexing to answers. Raises `JobError`, `WelipError`."""
    with ExitStack() as running:
        address = None
        if broker == "kafka":
            address = running.enter_context(KafkaServer(folder / "kafka")).bootstrap
        stack = running.enter_context(Stack(StackOptions(data=folder / "welip", port=free_port(), kafka=address)))
        with Client(stack.url) as client:
            # Ready to serve, with its analyser loaded: what is measured from here on is work and not start-up.
            succeeded(client.wait(client.submit("noop", {}).id, timeout=READY_WITHIN_S))
            began = time.perf_counter()
            jobs = [
                index(client, path, prefix, columns) for path, prefix in zip(corpora, prefixes(corpora), strict=True)
            ]
            for job in jobs:
                succeeded(client.wait(job.id))
            took = time.perf_counter() - began
            collection = client.collection(COLLECTION)
        console.print(f"{broker}: {collection.documents:,} documents indexed in {took:.1f} s")
        began = time.perf_counter()
        answers = asyncio.run(ask(stack.url, questions, concurrency))
        asked_s = time.perf_counter() - began
    console.print(f"{broker}: {len(answers):,} questions asked in {asked_s:.1f} s")
    return {
        "documents": collection.documents,
        "chunks": collection.chunks,
        "index_s": round(took, 2),
        "docs_per_s": round(collection.documents / took, 1),
        **judged(questions, answers),
        "questions_per_s": round(len(answers) / asked_s, 1),
    }


def index(client: Client, path: Path, prefix: str, columns: Columns) -> Job:
    """Submit a table of documents as one job."""
    named = {"format": table_format(path), "text": columns.text, "id": columns.id, "id_prefix": prefix}
    return client.index_corpus(COLLECTION, path, named, lane="bulk")


async def ask(url: str, questions: Sequence[Question], concurrency: int) -> list[tuple[Job, float]]:
    """Each question's ended job, and the milliseconds from submission to answer, in the given order."""
    ended: dict[int, tuple[Job, float]] = {}
    waiting = iter(enumerate(questions))

    async def one_after_the_other(client: AsyncClient) -> None:
        for position, question in waiting:
            began = time.perf_counter()
            asked = {"collection": COLLECTION, "question": question.text}
            job = await client.submit("inference", asked, wait_s=60)
            if not job.ended:
                job = await client.wait(job.id, timeout=ANSWER_WITHIN_S)
            ended[position] = job, (time.perf_counter() - began) * 1000

    async with AsyncClient(url) as client:
        await asyncio.gather(*(one_after_the_other(client) for _ in range(concurrency)))
    return [ended[position] for position in range(len(questions))]


def judged(questions: Sequence[Question], answers: Sequence[tuple[Job, float]]) -> dict[str, Any]:
    """Counts and percentiles; `own_passage_first` is a share of all questions, if their passages are indexed."""
    results = [job.result or {} for job, _ in answers]
    first = [(result.get("citations") or [{}])[0].get("document_id") for result in results]
    percent = quantiles((ms for _, ms in answers), n=100, method="inclusive")
    own = [cited == question.own for cited, question in zip(first, questions, strict=True)]
    return {
        "questions": len(answers),
        "succeeded": sum(job.state == "succeeded" for job, _ in answers),
        "found": sum(bool(result.get("found")) for result in results),
        **({"own_passage_first": round(sum(own) / len(own), 4)} if questions[0].own else {}),
        **{f"p{p}_ms": round(percent[p - 1], 1) for p in (50, 95, 99)},
    }


def succeeded(job: Job) -> None:
    """Raise `JobFailed` unless the job succeeded."""
    if job.state != "succeeded":
        raise JobFailed(job)


def read_questions(path: Path, corpora: Sequence[Path], columns: Columns, count: int) -> list[Question]:
    """`count` questions, evenly spread over the table. Raises `ValueError` when there are fewer than two."""
    prefix = {corpus.resolve(): prefix for corpus, prefix in zip(corpora, prefixes(corpora), strict=True)}
    own = prefix.get(path.resolve())
    rows = read_rows(path)
    if missing := {columns.question, *([columns.id] if own else [])} - (rows[0].keys() if rows else set()):
        raise ValueError(f"{path} has no column {', '.join(sorted(missing))}")
    asked = [rows[i * len(rows) // count] for i in range(count)] if 0 < count < len(rows) else rows
    if len(asked) < 2:
        raise ValueError(f"{path} holds {len(asked)} questions: percentiles need more")
    return [Question(str(row[columns.question]), f"{own}{row[columns.id]}" if own else None) for row in asked]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a UTF-8 table by column name; TSV has no quoting."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        match table_format(path):
            case "jsonl":
                return [json.loads(line) for line in file if line.strip()]
            case "tsv":
                return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
            case _:
                return list(csv.DictReader(file))


def table_format(path: Path) -> str:
    """`tsv`, `csv` or `jsonl`, from the file name."""
    return path.suffix.lower().removeprefix(".")


def prefixes(corpora: Sequence[Path]) -> list[str]:
    """Prefixes that keep equal ids in several tables apart."""
    return [f"{number}-{path.stem}/" for number, path in enumerate(corpora, 1)]


def show(found: dict[str, Any]) -> None:
    """Print the table: a row for each figure, a column for each broker."""
    measured = {name: figures for name, figures in found.items() if figures}
    table = Table("", *measured, title="questions over HTTP", title_justify="left", box=None)
    for key, name in SHOWN.items():
        values = [figures.get(key) for figures in measured.values()]
        if values[0] is not None:
            table.add_row(name, *(f"{value:,}" for value in values))
    console.print()
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
