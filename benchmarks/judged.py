"""How much of what a judge can take is used, and whether anything is asked twice when a worker is killed.

`python -m benchmarks.judged` has answers scored by a judge of 200 ms that takes 20 calls at once: a local server, which
now and then answers 429, 500, HTML, or something that cannot be read. With `--ragas` (group `eval`) the judge is asked
for RAGAS' metrics, whose calls follow on each other; else for two graders. `judge_share` is the share of the time that
20 calls at once would have taken at least. The second run is judged anew, and its worker is killed in the middle:
`judged_twice` counts good replies to a prompt beyond the first, without the 20 that may have been under way then.
`call_ms` is the worker's processor time for each call, answering and scoring included.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from infra.local.child import free_port
from infra.local.stack import Stack, StackOptions
from producers.client.evaluations import Evaluation
from producers.client.sync import Client

LIMIT: Final = 20
SECONDS: Final = 0.2
FAULT_EVERY: Final = 60
"""Calls between two faults, of which there are four kinds."""
METRICS: Final = ("faithfulness", "context_precision", "context_recall")
MODELS: Final = """
[[models]]
name = "default"
engine = "extractive"

[[models]]
name = "judge"
engine = "openai"
url = "{url}"
limits = {{ at_once = {limit} }}
"""


class JudgeServer(ThreadingHTTPServer):
    """Replies with a value of the schema that it is asked for."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.lock = threading.Lock()
        self.calls = 0
        self.busy = 0
        self.faults = 0
        self.refused = 0
        self.good: Counter[str] = Counter()
        self.first = self.last = 0.0

    def reset(self) -> None:
        """Begin to count anew."""
        with self.lock:
            self.calls = self.faults = self.refused = 0
            self.good.clear()
            self.first = self.last = 0.0

    @property
    def twice(self) -> int:
        """Good replies to a prompt beyond the first."""
        with self.lock:
            return sum(count - 1 for count in self.good.values() if count)


class _Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: JudgeServer

    def do_POST(self) -> None:
        at = self.server
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        except (OSError, ValueError):  # its worker was killed
            self.close_connection = True
            return
        with at.lock:
            at.first = at.first or time.perf_counter()
            at.calls += 1
            fault = at.calls // FAULT_EVERY % 4 if at.calls % FAULT_EVERY == 0 else None
            full = at.busy >= LIMIT
            at.busy += not full
        if full:
            at.refused += 1
            self._send(429, b'{"error": {"message": "too many"}}', "application/json")
            return
        time.sleep(SECONDS)
        prompt = json.dumps(body["messages"], ensure_ascii=False)
        first = len(body["messages"][0]["content"])  # so that asking again gives the same score
        reply = json.dumps(_value(body["response_format"]["json_schema"]["schema"], first), ensure_ascii=False)
        with at.lock:
            at.busy -= 1
            at.last = time.perf_counter()
            at.faults += fault is not None
            at.good[prompt] += fault is None
        match fault:
            case 0:
                self._send(429, b'{"error": {"message": "slow down"}}', "application/json")
            case 1:
                self._send(500, b"oops", "text/plain")
            case 2:
                self._send(200, b"<html>busy</html>", "text/html")
            case _:
                text = "I had rather not say." if fault == 3 else reply
                message = {"role": "assistant", "content": text}
                usage = {"prompt_tokens": len(prompt) // 3, "completion_tokens": len(reply) // 3}
                whole = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
                self._send(200, json.dumps(whole).encode(), "application/json")

    def _send(self, status: int, data: bytes, content_type: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # its worker was killed
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _value(schema: Any, number: int, whole: Any = None) -> Any:
    """A value of the schema: lists of two, numbers of 0 and 1."""
    whole = whole or schema
    if "$ref" in schema:
        return _value(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], number, whole)
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    match schema.get("type"):
        case "object":
            return {name: _value(part, number, whole) for name, part in schema["properties"].items()}
        case "array":
            return [_value(schema["items"], number, whole)] * 2
        case "integer" | "number":
            return number % 2
        case _:
            return "because"


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    """The server, in a thread of this process."""
    with JudgeServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def measure(count: int, *, ragas: bool = False) -> dict[str, Any]:
    """Both runs over `count` questions."""
    items = [
        {"id": str(n), "question": f"{n}번 산의 높이는 얼마인가?", "reference": f"{n} 미터"}
        for n in range(1, count + 1)
    ]
    documents = [{"id": str(n), "text": f"{n}번 산의 높이는 {n} 미터이다."} for n in range(1, count + 1)]
    with ExitStack() as running:
        server = running.enter_context(judge_server())
        folder = Path(
            running.enter_context(tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True))
        )
        (folder / "models.toml").write_text(MODELS.format(url=server.url, limit=LIMIT))
        os.environ["WELIP_MODELS"] = str(folder / "models.toml")
        running.callback(os.environ.pop, "WELIP_MODELS")
        stack = running.enter_context(Stack(StackOptions(data=folder / "welip", port=free_port())))
        stop = threading.Event()
        watch = threading.Thread(target=stack.watch, args=(stop,), daemon=True)
        watch.start()
        running.callback(watch.join)
        running.callback(stop.set)
        client = running.enter_context(Client(stack.url))
        for start in range(0, count, 1_000):
            for job in client.index_documents("judged", documents[start : start + 1_000]):
                client.wait(job.id, timeout=300)

        def evaluation(version: str) -> str:
            settings = {
                "metrics": [*METRICS] if ragas else ["exact_match"],
                "graders": [] if ragas else _graders(),
                "judge": {"model": "judge", "version": version},
            }
            lines = "\n".join(json.dumps(item, ensure_ascii=False) for item in items)
            return client.evaluate(lines.encode(), "judged", filename="items.jsonl", settings=settings).id

        before = _processor(_worker())
        found = client.evaluation(evaluation("1"))
        work = _processor(_worker()) - before
        calls, wall, faults, refused = (
            sum(server.good.values()),
            server.last - server.first,
            server.faults,
            server.refused,
        )
        share = calls * SECONDS / LIMIT / wall
        print(f"{calls:,} good replies in {wall:.1f} s, {faults} faults, {refused} refused: {share:.3f} of the limit")
        twice_in_peace = server.twice
        server.reset()
        job = evaluation("2")
        while sum(server.good.values()) < calls // 2:
            time.sleep(0.02)
        _worker().kill()
        again = client.evaluation(job)
        print(f"killed with up to {LIMIT} under way: {server.twice} prompts were answered twice")
    return {
        "judge_calls": calls,
        "judge_s": round(wall, 2),
        "judge_share": round(share, 3),
        "call_ms": round(1_000 * work / calls, 2),
        "judged_twice": twice_in_peace + max(0, server.twice - LIMIT),
        "same_scores": _scores(found) == _scores(again),
    }


def _graders() -> list[dict[str, Any]]:
    turns = [{"role": "user", "content": "{{item.question}} {{sample.output_text}} {{item.reference}}"}]
    return [
        {"type": "score_model", "name": "good", "input": turns},
        {"type": "label_model", "name": "kind", "input": turns, "labels": ["yes", "no"], "passing_labels": ["yes"]},
    ]


def _scores(evaluation: Evaluation) -> dict[str, tuple[float, int, int]]:
    [variant] = evaluation.variants
    return {name: (told.mean, told.n, told.missing) for name, told in variant.metrics.items()}


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
    """Exit status 0 when nothing was judged twice and both runs have the same scores."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judged", description=__doc__)
    parser.add_argument("--count", type=int, default=600, help="how many answers are judged")
    parser.add_argument("--ragas", action="store_true", help="ask for RAGAS' metrics (group `eval`)")
    given = parser.parse_args()
    for name in ("POSTGRES_URL", "KAFKA_URL", "BLOBS_URL", "INDEX_URL", "AUTH", "URL", "API_KEY"):
        os.environ.pop(f"WELIP_{name}", None)
    found = measure(given.count, ragas=given.ragas)
    print(json.dumps(found))
    return 0 if found["judged_twice"] == 0 and found["same_scores"] else 1


if __name__ == "__main__":
    sys.exit(main())
