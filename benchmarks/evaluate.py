"""How fast, how safe and how fair evaluations and batches are: all the figures in one run, the last line being JSON.

`python -m benchmarks.evaluate FOLDER` takes the first 2,223 questions of `FOLDER/train.tsv` (KoBEST BoolQ: columns ID,
Text, Question), indexes all its passages, and evaluates extractive answers on the embedded default. A question's own
passage is its relevant document and its reference. The script asks one question after the other over HTTP and computes
the same metrics in its own process. Then a judge scores answers (`benchmarks.judged`), every process is killed
(`benchmarks.killed`), and a batch runs, by itself and beside others (`benchmarks.batches`). A part whose size is 0 is
left out, and its keys are null.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks import batches, judged, killed
from consumers.ranking.bootstrap import mean_intervals
from consumers.scoring.given import Given
from consumers.scoring.items import scores
from infra.local.child import free_port
from infra.local.stack import Stack, StackOptions
from infra.text.kiwi import KiwiAnalyser
from producers.client.errors import JobFailed, WelipError
from producers.client.models import Job
from producers.client.sync import Client
from schemas.errors import JobError
from schemas.kinds.evaluation.items import Item
from schemas.kinds.evaluation.metrics import DEFAULT
from schemas.morphemes import Morpheme
from schemas.normalisation import nfc

COLLECTION: Final = "benchmark"
QUESTIONS: Final = 2_223
LINES: Final = 50_000
DRAINED: Final = 10_000
LEAST_FLOOD: Final = 10_000
"""A smaller flood would be over before its neighbours are measured."""
JUDGED_KEYS: Final = ("judge_share", "call_ms", "judged_twice")
KILLED_KEYS: Final = ("resume_s", "answered_twice", "judged_twice", "report_equal")
BATCH_KEYS: Final = (
    *("lines", "batch_lines_per_s", "drain_per_s", "memory_mb"),
    *("flood", "interactive_p95_ratio", "fair_ratio"),
)


def main() -> int:
    """Exit status 0 when every item is terminal, nothing was done twice, and figures and reports are the same, else 1;
    2: nothing measured.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument("data", type=Path, help="the folder with train.tsv")
    parser.add_argument("--count", type=int, default=QUESTIONS, help="how many questions are evaluated")
    parser.add_argument(
        "--script-count", type=int, help="how many of them the script asks, its time being projected; default: all"
    )
    parser.add_argument("--judged", type=int, default=judged.ANSWERS, help="how many answers a judge scores; 0: none")
    parser.add_argument("--killed", type=int, default=killed.ANSWERS, help="questions of the killed run; 0: none")
    parser.add_argument(
        "--lines",
        type=int,
        default=LINES,
        help="lines of the batch, and of the flood beside which others work, at least 10,000; 0: none",
    )
    given = parser.parse_args()
    for name in ("POSTGRES_URL", "KAFKA_URL", "BLOBS_URL", "INDEX_URL", "AUTH", "URL", "API_KEY"):
        os.environ.pop(f"WELIP_{name}", None)
    try:
        found = told(measure(given.data / "train.tsv", given.count, given.script_count or given.count))
        scored = told(judged.measure(given.judged) if given.judged else dict.fromkeys(JUDGED_KEYS))
        dead = told(killed.measure(given.killed) if given.killed else dict.fromkeys(KILLED_KEYS))
        flood = max(given.lines, LEAST_FLOOD)
        bulk = batches.whole(given.lines, DRAINED, flood) if given.lines else {}
    except (JobError, WelipError, OSError, RuntimeError) as error:
        print(f"benchmarks.evaluate: {error}", file=sys.stderr)
        return 2
    twice = [one["judged_twice"] for one in (scored, dead) if one["judged_twice"] is not None]
    found |= {**scored, **dead, "judged_twice": sum(twice) if twice else None}
    found |= {name: bulk.get(name) for name in BATCH_KEYS}
    print(json.dumps(found))
    same = found["same_figures"] is not False and found["report_equal"] is not False
    whole = found["terminal"] == found["questions"] and same
    return 0 if whole and not found["judged_twice"] and not found["answered_twice"] else 1


def told(part: dict[str, Any]) -> dict[str, Any]:
    """The figures of a part, printed: they are not lost when a later part fails."""
    print(json.dumps(part), flush=True)
    return part


def measure(corpus: Path, count: int, asked: int) -> dict[str, Any]:
    """Both ways on one stack, the evaluation first: the script, which asks `asked` questions, finds all caches warm."""
    with ExitStack() as running:
        folder = Path(
            running.enter_context(tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True))
        )
        stack = running.enter_context(Stack(StackOptions(data=folder / "welip", port=free_port())))
        client = running.enter_context(Client(stack.url))
        rows = read(corpus)
        columns = {"format": "tsv", "text": "Text", "id": "ID"}
        succeeded(client.wait(client.index_corpus(COLLECTION, corpus, columns, lane="bulk").id))
        client.ask(COLLECTION, rows[0]["Question"])
        items = [
            Item(id=row["ID"], row=n, question=row["Question"], references=[row["Text"]], relevant=[row["ID"]])
            for n, row in enumerate(rows[:count], start=1)
        ]
        dataset = "\n".join(
            json.dumps({"id": one.id, "question": one.question, "reference": one.references, "relevant": one.relevant})
            for one in items
        )
        print(f"{len(items):,} questions over {len(rows):,} passages")

        began, worked = time.perf_counter(), processor()
        evaluation = client.evaluation(client.evaluate(dataset.encode(), COLLECTION, filename="questions.jsonl").id)
        seconds, work = time.perf_counter() - began, processor() - worked
        print(f"as a job: {seconds:.1f} s, {work:.1f} s of processor")

        began, worked = time.perf_counter(), processor()
        figures = script(client, items[:asked])
        share = len(items) / len(items[:asked])
        script_s, script_work = share * (time.perf_counter() - began), share * (processor() - worked)
        print(f"as a script: {script_s:.1f} s, {script_work:.1f} s of processor")
    [variant] = evaluation.variants
    for name, told in variant.metrics.items():
        print(f"{name:12} {told.mean:.4f}  script {figures[name]:.4f}")
    return {
        "questions": len(items),
        "terminal": evaluation.items.succeeded + evaluation.items.failed,
        "seconds": round(seconds, 2),
        "times_faster_than_script": round(script_s / seconds, 3),
        "processor_s": round(work, 2),
        "script_processor_s": round(script_work, 2),
        "script_questions": len(items[:asked]),
        "same_figures": all(abs(told.mean - figures[name]) < 1e-3 for name, told in variant.metrics.items())
        if len(items[:asked]) == len(items)
        else None,
    }


def script(client: Client, items: Sequence[Item]) -> dict[str, float]:
    """One question after the other, scored at once, with intervals at the end: what people write."""
    kiwi = KiwiAnalyser(workers=1)

    def cut(text: str) -> list[Morpheme]:
        return [Morpheme(token.form, str(token.tag)) for window in kiwi.windows([nfc(text)]) for token in window.tokens]

    rows = []
    for item in items:
        asked = {"collection": COLLECTION, "question": item.question, "retrieved": True}
        result = succeeded(client.submit("inference", asked, wait_s=60)).result or {}
        documents = [passage["document_id"] for passage in result["retrieved"]]
        given = Given(True, result["answer"], result["found"], documents)
        rows.append(scores(DEFAULT, item, given, cut))
    names = list(rows[0])
    intervals = mean_intervals([[row[name] or 0.0 for name in names] for row in rows])
    return {name: interval.mean for name, interval in zip(names, intervals, strict=True)}


def processor() -> float:
    """Seconds of processor time of this process and of all those it started, ended ones included."""
    import psutil

    this = psutil.Process()
    spent = 0.0
    for process in [this, *this.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system + times.children_user + times.children_system
    return spent


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a TSV file, which knows no quoting."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def succeeded(job: Job) -> Job:
    """The job. Raises `JobFailed` unless it succeeded."""
    if job.state != "succeeded":
        raise JobFailed(job)
    return job


if __name__ == "__main__":
    sys.exit(main())
