"""Answers that are read while they are written: how late, and whether a token is lost or doubled when a gateway dies.

`python -m benchmarks.streams`. An engine in a process of its own speaks OpenAI's protocol and writes the time into each
token. Readers follow `--streams` answers at once over two gateways, twice: undisturbed, which gives the lag from the
engine's token to the reader's socket; and with one gateway killed half way, whose readers resume on the other. Prints a
table; the last line is one JSON object. Exit code 1 when a token was lost or doubled, or a job did not succeed.
"""

import argparse
import asyncio
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import httpx
import numpy as np
import psutil
import uvicorn
from rich.console import Console
from rich.table import Table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.processes import Bench
from infra.kafka.embedded import EmbeddedBroker
from infra.local.child import free_port
from infra.local.postgres import EmbeddedPostgres
from infra.postgres.migrate import migrate
from producers.client.async_ import AsyncClient
from producers.client.errors import WelipError
from producers.client.events import TokenEvent
from producers.client.sync import Client
from schemas.kinds.registry import routes
from schemas.lifecycle import JobState

TOKEN: Final = re.compile(r"(\d{5}):(\d{16})")
"""A token's number in its answer, and when it was written in microseconds since the epoch."""
ENDS_WITHIN_S: Final = 180.0
console = Console(stderr=True)


def main() -> int:
    """0, or 1 when something was lost, doubled, or failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=64, help="answers at once")
    parser.add_argument("--tokens", type=int, default=200, help="of each answer")
    parser.add_argument("--rate", type=float, default=20, help="tokens a second of each answer")
    parser.add_argument("--engine", type=int, metavar="PORT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine is not None:
        serve_engine(given.engine, given.tokens, given.rate)
        return 0
    with tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True) as folder:
        found = measure(Path(folder), given.streams, given.tokens, given.rate)
    table = Table("figure", "value")
    for name, value in found.items():
        table.add_row(name, str(value))
    console.print(table)
    print(json.dumps(found))
    return 1 if found["tokens_lost"] or found["tokens_doubled"] or found["failed"] else 0


def serve_engine(port: int, tokens: int, rate: float) -> None:
    """Chat completions, streamed: tokens that tell their number and their time."""

    async def complete(request: Request) -> Response:
        await request.body()

        async def written() -> AsyncIterator[str]:
            began = time.monotonic()
            for number in range(tokens):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                delta = {"content": f"{number:05}:{time.time_ns() // 1000:016} "}
                yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n"
            yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(written(), media_type="text/event-stream")

    uvicorn.run(Starlette(routes=[Route("/{path:path}", complete, methods=["POST"])]), port=port, log_level="error")


@dataclass
class Read:
    """What one reader saw: each token's lag in milliseconds, and how the job ended."""

    text: str = ""
    lags: list[float] = field(default_factory=list)
    state: str = "unread"
    complete: bool = False
    """Whether the result holds the same tokens."""

    def take(self, piece: str) -> None:
        """A piece came."""
        now = time.time_ns() // 1000
        self.text += piece
        found = TOKEN.findall(self.text)
        self.lags += [(now - int(at)) / 1000 for _, at in found[len(self.lags) :]]

    def numbers(self) -> Counter[int]:
        """How often each token came."""
        return Counter(int(number) for number, _ in TOKEN.findall(self.text))


class Balanced(httpx.AsyncHTTPTransport):
    """A reader's way to the gateways: the one it prefers, while that lives."""

    def __init__(self, ports: list[int], preferred: int) -> None:
        super().__init__()
        self._ports = ports
        self._preferred = preferred

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """To a live gateway; `ports` holds those."""
        port = self._preferred if self._preferred in self._ports else self._ports[0]
        request.url = request.url.copy_with(port=port)
        return await super().handle_async_request(request)


def measure(folder: Path, streams: int, tokens: int, rate: float) -> dict[str, Any]:
    """Start everything, index one document, and read twice."""
    with contextlib.ExitStack() as exits:
        postgres = EmbeddedPostgres(folder / "postgres")
        exits.callback(postgres.stop)
        url = postgres.start()
        asyncio.run(migrate(url))
        broker = EmbeddedBroker(route.topic for route in routes())
        exits.callback(broker.close)
        bench = Bench(folder, url, broker.url, embedded=True)
        engine = exits.enter_context(engine_process(tokens, rate))
        bench.env |= {
            "WELIP_GENERATOR": "openai",
            "WELIP_GENERATOR_URL": f"http://127.0.0.1:{engine}/v1",
            "WELIP_INDEX_URL": f"edge://{folder / 'index'}",
            "WELIP_WORKER_CONCURRENCY": str(streams * 2),
            "WELIP_LIMIT_RATE": "0",
        }
        metrics = free_port()
        worker = exits.enter_context(bench.process("consumers", WELIP_WORKER_METRICS_PORT=str(metrics)))
        first = exits.enter_context(bench.gateway())
        bench.port = free_port()
        second = exits.enter_context(bench.gateway(WELIP_GATEWAY_PORT=str(bench.port)))
        ports = [int(bench.env["WELIP_GATEWAY_PORT"]), bench.port]
        with Client(f"http://127.0.0.1:{ports[0]}") as client:
            document = {"id": "d", "title": "한라산", "text": "한라산의 높이는 1,947미터이다."}
            [job] = client.index_documents("ko", [document])
            client.wait(job.id, timeout=ENDS_WITHIN_S)

        def busy() -> dict[str, float]:
            of = {"worker": [worker], "gateways": [first, second], "readers": [psutil.Process()]}
            return {
                name: sum(sum(psutil.Process(process.pid).cpu_times()[:2]) for process in processes)
                for name, processes in of.items()
            }

        console.print(f"{streams} answers of {tokens} tokens, {rate:g} tokens/s each, undisturbed ...")
        before, sent, began = busy(), statements(metrics), time.monotonic()
        calm = asyncio.run(read_all(ports, streams, lambda: None, kill_at=None))
        took = time.monotonic() - began
        used = {name: seconds - before[name] for name, seconds in busy().items()}
        sent = statements(metrics) - sent

        def kill() -> None:
            first.kill()
            first.wait()
            ports.remove(ports[0])

        console.print("the same, with a gateway killed half way ...")
        disturbed = asyncio.run(read_all(ports, streams, kill, kill_at=tokens // 2))
    lags = np.array([lag for read in calm for lag in read.lags])
    late = np.array([lag for read in disturbed for lag in read.lags])
    every = [read.numbers() for read in [*calm, *disturbed]]
    return {
        "streams": streams,
        "tokens": int(sum(map(sum, (numbers.values() for numbers in every)))),
        "stream_lag_p50_ms": quantile(lags, 50),
        "stream_lag_p95_ms": quantile(lags, 95),
        "stream_lag_p99_ms": quantile(lags, 99),
        "disturbed_lag_p95_ms": quantile(late, 95),
        "disturbed_lag_max_ms": quantile(late, 100),
        "tokens_lost": sum(tokens - len(numbers) for numbers in every),
        "tokens_doubled": sum(count - 1 for numbers in every for count in numbers.values()),
        "failed": sum(read.state != "succeeded" or not read.complete for read in [*calm, *disturbed]),
        "statements_per_s": round(sent / took, 1),
        "seconds": round(took, 1),
        "cpu_ms_a_token": {name: round(seconds * 1000 / max(1, len(lags)), 3) for name, seconds in used.items()},
    }


async def read_all(ports: list[int], streams: int, kill: Any, *, kill_at: int | None) -> list[Read]:
    """Ask all questions, half of them over each gateway, and read the answers to their ends."""
    reads = [Read() for _ in range(streams)]
    preferred = [ports[number % len(ports)] for number in range(streams)]
    async with contextlib.AsyncExitStack() as exits, asyncio.timeout(ENDS_WITHIN_S), asyncio.TaskGroup() as group:
        clients = {
            port: await exits.enter_async_context(
                AsyncClient("http://127.0.0.1", transport=Balanced(ports, port), retry_for_s=60)
            )
            for port in set(preferred)
        }
        for read, port in zip(reads, preferred, strict=True):
            group.create_task(read_one(clients[port], read))
        if kill_at is not None:
            while min(len(read.lags) for read in reads) < kill_at:  # noqa: ASYNC110 - a look at many readers
                await asyncio.sleep(0.02)
            kill()
    return reads


async def read_one(client: AsyncClient, read: Read) -> None:
    """One question."""
    asked = {"collection": "ko", "question": "한라산의 높이는?", "generate": {"stream": True, "max_tokens": 8192}}
    job = await client.submit("inference", asked)
    async for event in client.events(job.id):
        if isinstance(event, TokenEvent):
            read.take(event.text)
    ended = await client.job(job.id)
    read.state = str(ended.state)
    if ended.state is JobState.SUCCEEDED:
        with contextlib.suppress(WelipError):
            read.complete = TOKEN.findall((await client.answer(ended)).answer or "") == TOKEN.findall(read.text)


@contextlib.contextmanager
def engine_process(tokens: int, rate: float) -> Iterator[int]:
    """The engine; its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.streams", f"--engine={port}", f"--tokens={tokens}", f"--rate={rate}"]
    process = subprocess.Popen(command)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)


def statements(port: int) -> int:
    """How many statements for texts the worker has sent so far."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = re.search(rb"^welip_stream_statement_duration_seconds_count (\S+)", answer.read(), re.MULTILINE)
    return int(float(found[1])) if found else 0


def quantile(values: "np.ndarray[Any, np.dtype[np.float64]]", percent: float) -> float | None:
    """Of the lags, in milliseconds."""
    return round(float(np.percentile(values, percent)), 1) if len(values) else None


if __name__ == "__main__":
    sys.exit(main())
