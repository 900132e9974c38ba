"""How much of what a judge can take is used, and what a call costs the worker.

`python -m benchmarks.judged` has answers scored by a judge of 200 ms that takes 20 calls at once, and now and then
fails (`benchmarks.judge_server`). With `--ragas` (group `eval`) the judge is asked for RAGAS' metrics, whose calls
follow on each other; else for two graders. `judge_share` is the share of the time that 20 calls at once would have
taken at least. `call_ms` is the worker's processor time for each call while it judges; `answer_ms` is that for each
answer before, its scores included.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.judge_server import LIMIT, SECONDS, judge_server
from infra.local.child import free_port
from infra.local.stack import Stack, StackOptions
from producers.client.sync import Client

ANSWERS: Final = 1_200
METRICS: Final = ("faithfulness", "context_precision", "context_recall")
TURNS: Final = [{"role": "user", "content": "{{item.question}} {{sample.output_text}} {{item.reference}}"}]
GRADERS: Final = [
    {"type": "score_model", "name": "good", "input": TURNS},
    {"type": "label_model", "name": "kind", "input": TURNS, "labels": ["yes", "no"], "passing_labels": ["yes"]},
]


def items(count: int) -> list[dict[str, Any]]:
    """Questions, each about a document of its own."""
    return [
        {"id": str(n), "question": f"{n}번 산의 높이는 얼마인가?", "reference": f"{n} 미터", "relevant": [str(n)]}
        for n in range(1, count + 1)
    ]


def index(client: Client, count: int) -> None:
    """The documents that the questions are about, in the collection `judged`."""
    documents = [{"id": str(n), "text": f"{n}번 산의 높이는 {n} 미터이다."} for n in range(1, count + 1)]
    for start in range(0, count, 1_000):
        for job in client.index_documents("judged", documents[start : start + 1_000]):
            client.wait(job.id, timeout=300)


def measure(count: int, *, ragas: bool = False) -> dict[str, Any]:
    """One run over `count` questions."""
    with ExitStack() as running:
        server = running.enter_context(judge_server(faults=True))
        folder = Path(
            running.enter_context(tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True))
        )
        (folder / "models.toml").write_text(server.models)
        os.environ["WELIP_MODELS"] = str(folder / "models.toml")
        running.callback(os.environ.pop, "WELIP_MODELS")
        stack = running.enter_context(Stack(StackOptions(data=folder / "welip", port=free_port())))
        client = running.enter_context(Client(stack.url))
        index(client, count)
        settings = {
            "metrics": [*METRICS] if ragas else ["exact_match"],
            "graders": [] if ragas else GRADERS,
            "judge": {"model": "judge", "version": "1"},
        }
        dataset = "\n".join(json.dumps(item, ensure_ascii=False) for item in items(count)).encode()
        worker = _worker()
        begun = _processor(worker)
        job = client.evaluate(dataset, "judged", filename="items.jsonl", settings=settings).id
        while not server.calls:
            time.sleep(0.01)
        answered = _processor(worker)
        found = client.evaluation(job)
        judged = _processor(worker)
    calls, wall = sum(server.good.values()), server.last - server.first
    share = calls * SECONDS / LIMIT / wall
    print(
        f"{calls:,} good replies in {wall:.1f} s, {server.faults} faults, {server.refused} refused: {share:.3f} of the"
        " limit"
    )
    return {
        "judge_calls": calls,
        "judge_s": round(wall, 2),
        "judge_share": round(share, 3),
        "call_ms": round(1_000 * (judged - answered) / calls, 2),
        "answer_ms": round(1_000 * (answered - begun) / count, 2),
        "judged_twice": server.twice("judge"),
        "unscored": sum((found.judged.unscored if found.judged else {}).values()),
    }


def _worker() -> Any:
    import psutil

    return next(
        one
        for one in psutil.Process().children(recursive=True)
        if "consumers" in one.cmdline() and "-m" in one.cmdline()
    )


def _processor(process: Any) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> int:
    """Exit status 0 when nothing was judged twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judged", description=__doc__)
    parser.add_argument("--count", type=int, default=ANSWERS, help="how many answers are judged")
    parser.add_argument("--ragas", action="store_true", help="ask for RAGAS' metrics (group `eval`)")
    given = parser.parse_args()
    for name in ("POSTGRES_URL", "KAFKA_URL", "BLOBS_URL", "INDEX_URL", "AUTH", "URL", "API_KEY"):
        os.environ.pop(f"WELIP_{name}", None)
    found = measure(given.count, ragas=given.ragas)
    print(json.dumps(found))
    return 0 if found["judged_twice"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
