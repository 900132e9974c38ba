"""Measures WeLIP itself with no-op jobs: submissions, draining, latency, a full table, and an idle stack.

`python -m benchmarks.jobs` prints a table; its last line is one JSON object. It takes about six minutes. Apache Kafka
is used if Java and Maven are there; without them the embedded broker stands in and `drain_per_s.kafka` is null.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import asyncpg
import psutil
import uuid_utils.compat as uuids

from benchmarks.processes import Bench
from infra.kafka.embedded import EmbeddedBroker
from infra.local import kafka
from infra.local.child import free_port
from infra.local.postgres import EmbeddedPostgres
from infra.postgres.migrate import migrate
from infra.postgres.queries.submit import NewJob, submit
from schemas.errors import JobError
from schemas.kinds.registry import routes

CONNECTIONS = 64
RATES = (50, 200, 500)
CONCURRENCY = 10  # the same as the peers' in docs/measurements.md
FINISHED = 1_000_000


def main() -> int:
    """Measure everything, or only the named parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="preloaded jobs of a drain")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--only", choices=["submit", "drain", "latency", "full", "idle"], action="append")
    given = parser.parse_args()
    parts = given.only or ["submit", "drain", "latency", "full", "idle"]
    found: dict[str, Any] = {
        "submit_per_s": None,
        "submit_ceiling_per_s": None,
        "drain_per_s": {"kafka": None, "embedded": None},
        "latency_ms": {str(rate): {"p50": None, "p99": None} for rate in RATES},
        "drain_at_1m_per_s": None,
        "idle_cpu_percent": None,
    }
    with tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True) as folder:
        with Brokers(Path(folder)) as brokers:
            if "submit" in parts:
                found |= measure_submit(brokers.best(), given.rounds, given.seconds)
            if "drain" in parts:
                for name, bench in brokers.every():
                    found["drain_per_s"][name] = measure_drain(name, bench, given.jobs, given.rounds)
            if "latency" in parts:
                for name, bench in reversed(brokers.every()):  # the best broker comes last: its figures are the result
                    found["latency_ms"] = measure_latency(name, bench, given.seconds)
            if "full" in parts:
                found["drain_at_1m_per_s"] = measure_full(brokers, given.jobs, given.rounds)
        if "idle" in parts:
            found["idle_cpu_percent"] = measure_idle(Path(folder) / "idle")
    print(json.dumps(found))
    return 0


class Brokers:
    """One PostgreSQL, a bench on the embedded broker, and one on Apache Kafka if it can run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exit = contextlib.ExitStack()
        self._benches: dict[str, Bench] = {}

    def __enter__(self) -> "Brokers":
        """Start them."""
        postgres = EmbeddedPostgres(self._folder / "postgres")
        url = postgres.start()
        self._exit.callback(postgres.stop)
        asyncio.run(migrate(url))
        try:
            server = self._exit.enter_context(kafka.KafkaServer(self._folder / "kafka"))
            self._benches["kafka"] = Bench(self._folder, url, server.bootstrap, embedded=False)
        except JobError as error:
            say(f"Apache Kafka is left out: {error.message}")
        broker = EmbeddedBroker(route.topic for route in routes())
        self._exit.callback(broker.close)
        self._benches["embedded"] = Bench(self._folder, url, broker.url, embedded=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        self._exit.close()

    def best(self) -> Bench:
        """Apache Kafka's bench if there is one, else the embedded broker's."""
        return self.every()[0][1]

    def every(self) -> list[tuple[str, Bench]]:
        """The benches by name, the best one first."""
        return list(self._benches.items())


def measure_submit(bench: Bench, rounds: int, seconds: float) -> dict[str, float]:
    """Submissions a second over HTTP at 64 connections, alternating with the ceiling."""
    ours, ceiling = [], []
    for _ in range(rounds):
        empty(bench)
        with bench.gateway() as process:
            ours.append(bench.load("closed", CONNECTIONS, seconds))
            memory = psutil.Process(process.pid).memory_info().rss
        with bench.gateway("benchmarks.ceiling"):
            ceiling.append(bench.load("closed", CONNECTIONS, seconds))
    say(
        f"submit: {median(ours):,.0f}/s at {CONNECTIONS} connections (rounds {shown(ours)});"
        f" ceiling {median(ceiling):,.0f}/s (rounds {shown(ceiling)}); share {median(ours) / median(ceiling):.2f};"
        f" gateway {memory / 1e6:.0f} MB"
    )
    return {"submit_per_s": round(median(ours)), "submit_ceiling_per_s": round(median(ceiling))}


def measure_drain(name: str, bench: Bench, jobs: int, rounds: int) -> int:
    """No-op jobs a second from the first claim to the last end; all are on the topic beforehand."""
    rates = [drain(bench, jobs) for _ in range(rounds)]
    say(f"drain of {jobs:,} on {name}: {median(rates):,.0f} jobs/s (rounds {shown(rates)})")
    return round(median(rates))


def drain(bench: Bench, jobs: int) -> float:
    """Jobs a second in one drain."""
    empty(bench, keep_finished=True)
    ids = asyncio.run(preload(bench.postgres, jobs))
    with bench.process("producers"):
        wait_for(bench, "SELECT NOT EXISTS (SELECT 1 FROM outbox)")
        # The embedded broker takes one worker process; Kafka gets one for each of the two processors.
        with bench.workers(1 if bench.embedded else 2, CONCURRENCY, warm=False):
            # Not by counting rows: asking must not cost as much as what is measured.
            last = f"'{ids}'::uuid[]"
            wait_for(bench, f"SELECT NOT EXISTS (SELECT 1 FROM job WHERE id >= ({last})[1] AND state <> 'succeeded')")
    seconds = query(
        bench,
        f"SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM job WHERE id >= ({last})[1]",
    )
    return float(jobs / seconds)


def measure_latency(name: str, bench: Bench, seconds: float) -> dict[str, dict[str, float]]:
    """The time from sending the request to the job's end, by this machine's single clock."""
    result = {}
    empty(bench)
    with bench.gateway(), bench.workers(1 if bench.embedded else 2, CONCURRENCY, warm=True) as workers:
        warm(bench)
        for rate in RATES:
            sent = bench.load("open", rate, seconds)
            wait_for(bench, "SELECT NOT EXISTS (SELECT 1 FROM job WHERE state <> 'succeeded')")
            ends = dict(asyncio.run(ended(bench.postgres)))
            taken = sorted((ends[job] - at) * 1000 for at, job in sent["jobs"])
            p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
            result[str(rate)] = {"p50": round(p50, 1), "p99": round(p99, 1)}
            say(
                f"latency on {name} at {rate}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {taken[-1]:.1f} ms"
                f" ({len(taken):,} jobs, {sent['refused']} refused)"
            )
        say(f"worker with Kiwi: {psutil.Process(workers[0].pid).memory_info().rss / 1e6:.0f} MB")
    return result


def measure_full(brokers: Brokers, jobs: int, rounds: int) -> int:
    """A drain beside a million finished jobs, alternating with one beside none, on the same broker."""
    name, bench = brokers.every()[-1]
    without = []
    for _ in range(rounds):
        empty(bench)
        without.append(drain(bench, jobs))
    empty(bench)
    asyncio.run(fill(bench.postgres))
    beside = [drain(bench, jobs) for _ in range(rounds)]
    say(
        f"drain on {name} beside {FINISHED:,} finished jobs: {median(beside):,.0f} jobs/s (rounds {shown(beside)});"
        f" beside none {median(without):,.0f} (rounds {shown(without)}); share {median(beside) / median(without):.2f}"
    )
    empty(bench)
    return round(median(beside))


def measure_idle(data: Path, seconds: float = 30) -> float:
    """How much of one processor the whole embedded stack uses when nothing happens, in percent."""
    with stack(data) as (port, supervisor):
        urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
        deadline = time.monotonic() + 60
        while b"worker.started" not in (data / "logs/worker.log").read_bytes():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not start; see {data / 'logs'}")
            time.sleep(0.1)
        time.sleep(8)  # the analyser loads, and the last messages of the start are processed
        before = processor_seconds(supervisor.pid, data)
        time.sleep(seconds)
        after = processor_seconds(supervisor.pid, data)
    taken = {name: 100 * (after[name] - before.get(name, 0)) / seconds for name in after}
    say("idle: " + ", ".join(f"{name} {percent:.2f} %" for name, percent in sorted(taken.items())))
    return round(sum(taken.values()), 2)


@contextlib.contextmanager
def stack(data: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """`welip up` on a folder; yields its port and process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "producers.client.cli", "up", "--data", str(data), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if b"is up" in line:
                break
        else:
            raise RuntimeError("the stack did not start")
        yield port, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def processor_seconds(supervisor: int, data: Path) -> dict[str, float]:
    """Processor seconds of every process of the stack, PostgreSQL's included, by its role."""
    seconds: dict[str, float] = {}
    postmaster = int((data / "postgres/postmaster.pid").read_text().splitlines()[0])
    for root, name in ((supervisor, None), (postmaster, "postgres")):
        parent = psutil.Process(root)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                what = name or ("supervisor and broker" if process.pid == root else process.cmdline()[-1])
                seconds[what] = seconds.get(what, 0) + times.user + times.system
        if name:
            mine = parent.cpu_times()  # includes what its ended children used
            seconds[name] += mine.children_user + mine.children_system
    return seconds


async def preload(url: str, jobs: int) -> str:
    """Submit no-op jobs; returns an array text that begins with the first id."""
    connection = await asyncpg.connect(url)
    made = [
        NewJob(
            id=uuids.uuid7(),
            tenant="default",
            kind="noop",
            stage="run",
            lane="interactive",
            input="{}",
            max_attempts=5,
        )
        for _ in range(jobs)
    ]
    for start in range(0, jobs, 1000):
        await submit(connection, made[start : start + 1000])
    await connection.close()
    return "{" + str(min(job.id for job in made)) + "}"


async def fill(url: str) -> None:
    """Insert a million jobs that succeeded in the past, with their history."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        """
        INSERT INTO job (id, tenant, kind, stage, lane, state, epoch, attempt, max_attempts, input, result, created_at,
                         due_at, summoned_at, started_at, finished_at)
        SELECT uuidv7(interval '-1 day'), 'default', 'noop', 'run', 'interactive', 'succeeded', 1, 1, 5, '{}', '{}', t,
               t, t, t, t
        FROM (SELECT now() - interval '1 day' AS t FROM generate_series(1, $1::int)) AS past
        """,
        FINISHED,
        timeout=600,
    )
    await connection.execute(
        "INSERT INTO job_event (job_id, type, at, data)"
        " SELECT id, 'state', finished_at, '{\"state\": \"succeeded\"}' FROM job",
        timeout=600,
    )
    await connection.execute("VACUUM (ANALYZE)", timeout=600)
    await connection.execute("CHECKPOINT", timeout=600)
    await connection.close()


async def ended(url: str) -> list[tuple[str, float]]:
    """Every job's id and end, the latter in seconds since the Unix epoch."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT id, extract(epoch FROM finished_at)::float8 AS at FROM job")
    await connection.close()
    return [(f"job_{row['id'].hex}", row["at"]) for row in rows]


def warm(bench: Bench) -> None:
    """Wait until jobs run without delay: consumers have joined their groups, and the analyser is loaded."""
    quick = 0
    for _ in range(30):
        empty(bench)
        bench.load("open", 20, 3)
        wait_for(bench, "SELECT NOT EXISTS (SELECT 1 FROM job WHERE state <> 'succeeded')")
        slowest = query(bench, "SELECT extract(epoch FROM max(started_at - created_at))::float8 FROM job")
        quick = quick + 1 if slowest < 0.25 else 0  # a worker that joins late pauses its groups once more
        if quick == 4:
            return
    raise RuntimeError("jobs are still delayed a minute after the workers' start")


def empty(bench: Bench, *, keep_finished: bool = False) -> None:
    """Remove the jobs of the previous measurement."""
    if keep_finished:
        query(bench, "DELETE FROM job WHERE created_at > now() - interval '12 hours'")
        query(bench, "DELETE FROM job_event WHERE at > now() - interval '12 hours'")
    else:
        query(bench, "TRUNCATE job, job_event, outbox CASCADE")
    query(bench, "VACUUM (ANALYZE) job, job_event, outbox")


def query(bench: Bench, sql: str) -> Any:
    """The single value that a query returns."""

    async def run() -> Any:
        connection = await asyncpg.connect(bench.postgres)
        try:
            return await connection.fetchval(sql, timeout=600)
        finally:
            await connection.close()

    return asyncio.run(run())


def wait_for(bench: Bench, sql: str, *, within_s: float = 120) -> None:
    """Wait until a query returns true."""
    deadline = time.monotonic() + within_s
    while not query(bench, sql):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {within_s:g} s: {sql}; see {bench.folder / 'processes.log'}")
        time.sleep(0.1)


def shown(values: list[float]) -> str:
    """The values as text, such as `3,210 3,305`."""
    return " ".join(f"{value:,.0f}" for value in values)


def say(line: str) -> None:
    """Print a line of the table."""
    print(line, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
