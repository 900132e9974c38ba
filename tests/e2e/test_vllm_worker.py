"""vLLM in a worker of its own: jobs over HTTP and Kafka to `welip worker --model`, and an engine that dies."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from infra.kafka.embedded import EmbeddedBroker
from infra.local import engines, models
from infra.local.child import cache_folder, free_port
from producers.client.sync import Client
from schemas.errors import DependencyMissing
from schemas.kinds.registry import routes
from schemas.lifecycle import JobState
from schemas.models import Models, VllmModel
from tests.conftest import execute
from tests.e2e.processes import Gateway, Process, until

WITHIN_S = 600
AT_ONCE = 4
RESERVED = 1
PARIS = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Write a very long story about a mountain."}]

pytestmark = [pytest.mark.models, pytest.mark.timeout(2 * WITHIN_S)]


class Worker(Process):
    """`welip worker --model small` in the environment of engines."""

    def __init__(self, python: Path, log: Path, **settings: str) -> None:
        port = free_port()
        self._metrics = f"http://127.0.0.1:{port}/metrics"
        found = engines.environment()
        apart = {name: found[name] for name in ("PATH", "PYTHONPATH")}
        # Threads that wait for one another stand still on a busy machine: one is enough for such a model.
        apart |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
        # On a CPU vLLM then has one process less to start; its core is one of its own all the same.
        apart |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        settings = {**apart, "WELIP_WORKER_METRICS_PORT": str(port), **settings}
        super().__init__([str(python), "-m", "consumers", "--model", "small"], log, **settings)

    def load(self) -> dict[str, float]:
        """The engine's own counters."""
        text = httpx.get(self._metrics, timeout=30).text
        found = {
            state: float(value)
            for state, value in re.findall(r'^welip_engine_requests\{model="small",state="(\w+)"\} (\S+)', text, re.M)
        }
        cache = re.search(r'^welip_engine_cache_used_ratio\{model="small"\} (\S+)', text, re.M)
        return {**found, "cache": float(cache[1]) if cache else -1.0}

    def core(self) -> psutil.Process:
        """vLLM's process."""
        [core] = [child for child in self.descendants() if "EngineCore" in child.name()]
        return core


class Stack:
    """A gateway here, and the worker in its own environment."""

    def __init__(self, folder: Path, python: Path, weights: Path, postgres: str, kafka: str) -> None:
        self.log = folder / "worker.log"
        self._folder = folder
        self._row = {"name": "small", "weights": json.dumps(str(weights))}
        self.postgres = postgres
        self._settings = {
            "WELIP_MODELS": self._models("vllm", VLLM),
            "WELIP_POSTGRES_URL": postgres,
            "WELIP_KAFKA_URL": kafka,
            "WELIP_KAFKA_EMBEDDED": "true",
            "WELIP_BLOBS_URL": f"file://{folder / 'blobs'}",
            "WELIP_WORKER_DRAIN": "0.5",
            "WELIP_CACHE": str(cache_folder()),
        }
        self._python = python
        self.gateway = Gateway(folder / "gateway.log", **self._settings)

    def worker(self) -> Worker:
        return Worker(self._python, self.log, **self._settings)

    def another(self) -> Worker:
        """A worker that serves the model with transformers, which starts in a third of the time."""
        return Worker(self._python, self.log, **self._settings | {"WELIP_MODELS": self._models("transformers")})

    def _models(self, engine: str, more: str = "") -> str:
        file = self._folder / f"{engine}.toml"
        file.write_text(MODELS.format(**self._row, engine=engine) + more, encoding="utf-8")
        return str(file)

    def events(self) -> list[dict[str, Any]]:
        """What the workers logged."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def told(self, name: str) -> bool:
        """Whether a worker logged this event."""
        return any(event["event"] == name for event in self.events())

    def served(self) -> bool:
        [row] = httpx.get(f"{self.gateway.url}/v1/models", timeout=30).json()["data"]
        return bool(row["served"])


MODELS = """
[[models]]
name = "{name}"
engine = "{engine}"
weights = {weights}
"""
VLLM = f"""
context_length = 2048
reserved = {RESERVED}
options = {{ enforce_eager = true, max_num_seqs = {AT_ONCE} }}
"""
SHORTER = """UPDATE job SET input = (input::jsonb || '{"max_tokens": 4}')::json WHERE finished_at IS NULL"""


@pytest.fixture(scope="module")
def stack(stack_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    try:
        weights, python = models.make_smollm2(), engines.install()
    except DependencyMissing as error:
        pytest.skip(error.message)
    folder = tmp_path_factory.mktemp("vllm")
    row = VllmModel(name="small", engine="vllm", weights=str(weights))
    broker = EmbeddedBroker(route.topic for route in routes(Models((row,))))
    try:
        made = Stack(folder, python, weights, stack_database, broker.url)
        with made.gateway:
            yield made
    finally:
        broker.close()


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Iterator[Worker]:
    """Ready. The last test kills its engine."""
    with stack.worker() as running:
        while not stack.told("engine.ready"):
            served = stack.served()
            if not stack.told("engine.ready"):
                assert not served
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"the worker ended with {running.popen.wait(0.5)}: {running.log[-3000:]}")
        until(stack.served, "the worker serves the model", within_s=WITHIN_S)
        # Its session with Postgres tells of the model; its groups may let it in later.
        until(lambda: stack.told("worker.started"), "the worker is in its groups", within_s=WITHIN_S)
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack, worker: Worker) -> Iterator[Client]:
    with Client(stack.gateway.url) as connected:
        yield connected


def wrote(client: Client, **asked: Any) -> str:
    """Submit stories that nobody waits for; the job's id."""
    lane = asked.pop("lane", "bulk")
    return client.submit("generation", {"messages": STORY, "max_tokens": 400, **asked}, lane=lane).id


def test_the_worker_serves_when_a_first_token_is_written(stack: Stack, worker: Worker) -> None:
    told = [(event["event"], event.get("reason")) for event in stack.events()]
    steps = [
        ("engine.warming", "engine"),
        ("engine.warming", "weights"),
        ("engine.warming", "first_token"),
        ("engine.ready", None),
        ("worker.started", None),
    ]
    assert [told.index(step) for step in steps] == sorted(told.index(step) for step in steps)


def test_it_knows_the_capital_of_france(client: Client) -> None:
    job = client.submit("generation", {"messages": PARIS, "model": "small", "max_tokens": 32, "temperature": 0})
    job = client.wait(job.id, WITHIN_S)
    assert job.state == JobState.SUCCEEDED, job.error
    assert "Paris" in job.result["message"]["content"]
    assert (job.result["model"], job.result["finish_reason"]) == ("small", "stop")
    assert job.result["usage"]["completion_tokens"] > 1


def test_an_answer_is_read_while_it_is_written(client: Client) -> None:
    asked = {"messages": PARIS, "max_tokens": 32, "temperature": 0, "stream": True}
    stream = client.stream(client.submit("generation", asked).id, timeout=WITHIN_S)
    text = "".join(stream)
    assert "Paris" in text
    assert stream.job is not None
    assert stream.job.result["message"]["content"] == text


def test_the_worker_takes_what_the_engine_has_room_for(client: Client, worker: Worker) -> None:
    bulk = [wrote(client) for _ in range(4 * AT_ONCE)]
    most = 0

    def running() -> int:
        return len(list(client.jobs(state="running", limit=100).data))

    # One job more is ready, in the engine's own queue.
    until(lambda: worker.load()["running"] == AT_ONCE and running() == AT_ONCE + 1, "it is full", within_s=WITHIN_S)
    asked = {"messages": PARIS, "max_tokens": 8, "temperature": 0}
    quick = client.submit("generation", asked, lane="interactive")
    while client.job(quick.id).state != JobState.SUCCEEDED:
        load = worker.load()
        most = max(most, running())
        assert load["running"] <= AT_ONCE + RESERVED
    assert most <= AT_ONCE + 1 + RESERVED
    assert any(client.job(id).state == JobState.QUEUED for id in bulk), "bulk waits where another worker could take it"
    for id in bulk:
        client.cancel(id)


def test_jobs_that_are_cancelled_leave_the_engine(client: Client, worker: Worker) -> None:
    idle = {"running": 0.0, "waiting": 0.0, "cache": 0.0}
    until(lambda: worker.load() == idle, "the engine is idle", within_s=WITHIN_S)
    jobs = [wrote(client, lane="interactive", stream=n % 2 == 0) for n in range(2 * AT_ONCE)]
    until(lambda: worker.load()["running"] == AT_ONCE + RESERVED, "the engine is full", within_s=WITHIN_S)
    assert worker.load()["cache"] > 0
    for id in jobs:
        client.cancel(id)
    until(lambda: worker.load() == idle, "the engine is idle", within_s=WITHIN_S)
    states = {client.wait(id, WITHIN_S).state for id in jobs}
    assert JobState.CANCELLED in states
    assert states <= {JobState.CANCELLED, JobState.SUCCEEDED}  # a story may have ended before


def test_jobs_of_an_engine_that_died_go_on_in_another_worker_without_losing_an_attempt(
    stack: Stack, client: Client, worker: Worker
) -> None:
    jobs = [wrote(client, lane="interactive", max_tokens=200, stream=n == 0) for n in range(AT_ONCE)]
    until(lambda: worker.load()["running"] == AT_ONCE, "the engine is full", within_s=WITHIN_S)
    worker.core().kill()
    assert worker.ended(within_s=WITHIN_S) == os.EX_SOFTWARE
    assert stack.told("engine.died")
    assert stack.told("worker.draining"), "it gave back what it held"
    until(lambda: not stack.served(), "nobody serves the model", within_s=WITHIN_S)
    told = {job.error.code for job in map(client.job, jobs) if job.error is not None}
    assert told <= {"engine_died"}
    asyncio.run(execute(stack.postgres, SHORTER))
    with stack.another():
        for id in jobs:
            job = client.wait(id, WITHIN_S)
            assert job.state == JobState.SUCCEEDED, job.error
            assert job.attempt == 1
