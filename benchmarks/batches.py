"""Measures a batch of no-op jobs beside the drain of as many plain ones, its memory, and what a flood costs others.

`python -m benchmarks.batches` prints a table; its last line is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
import psutil

from benchmarks import fairness
from benchmarks.jobs import CONCURRENCY, Brokers, drain, empty, say
from benchmarks.lines import make, wait_until_completed
from benchmarks.processes import Bench


def main() -> int:
    """0, or 1 when a line is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--drained", type=int, default=10_000, help="plain jobs of the drain")
    parser.add_argument("--flood", type=int, default=50_000, help="items of one tenant beside which another works")
    given = parser.parse_args()
    found = whole(given.lines, given.drained, given.flood)
    print(json.dumps(found))
    return 0 if found["missing"] == 0 else 1


def whole(lines: int, drained: int, flood: int) -> dict[str, Any]:
    """A batch between two drains of plain jobs, and what a flood costs others, on the embedded broker."""
    with (
        tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True) as folder,
        Brokers(Path(folder)) as brokers,
    ):
        _, bench = brokers.every()[-1]
        before = drain(bench, drained)
        found = measure(bench, lines)
        per_s = mean([before, drain(bench, drained)])
        found |= fairness.measure(bench, flood)
    found |= {"drain_per_s": round(per_s), "share_of_drain": round(found["batch_lines_per_s"] / per_s, 2)}
    say(f"drain of {drained:,} plain jobs: {per_s:,.0f}/s")
    say(f"batch of {lines:,} lines: {found['batch_lines_per_s']:,}/s, in all {found['seconds']} s")
    say(f"100 items beside {flood:,} of another: {found['few_beside_s']} s, alone {found['few_alone_s']} s")
    say(f"an interactive job's p95 before and beside them: {found['interactive_p95_ms']} ms")
    return found


def measure(bench: Bench, lines: int) -> dict[str, Any]:
    """One batch from its request to its files, and the most memory of gateway and worker meanwhile, in MB."""
    empty(bench)
    with (
        bench.gateway() as gateway,
        bench.workers(1, CONCURRENCY, warm=False) as [worker],
        httpx.Client(base_url=f"http://127.0.0.1:{bench.port}", timeout=300) as http,
    ):
        # A small one first: consumers have joined, and every module is loaded.
        wait_until_completed(http, make(http, 100))
        processes = {name: psutil.Process(one.pid) for name, one in (("gateway", gateway), ("worker", worker))}
        before = {name: memory(process) for name, process in processes.items()}
        cpu = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
        most = dict(before)
        batch = make(http, lines)
        began = time.monotonic()
        phases: dict[str, float] = {}
        while True:
            now = http.get(f"/v1/batches/{batch}").json()
            phases.setdefault(now["status"], round(time.monotonic() - began, 1))
            most = {name: max(most[name], memory(process)) for name, process in processes.items()}
            if now["status"] == "completed":
                break
            if now["status"] in ("failed", "expired", "cancelled") or time.monotonic() - began > 1_800:
                raise RuntimeError(f"the batch is {now}")
            time.sleep(0.2)
        seconds = time.monotonic() - began
        used = {name: sum(process.cpu_times()[:2]) - cpu[name] for name, process in processes.items()}
        written = http.get(f"/v1/files/{now['output_file_id']}/content").text.count("\n")
    return {
        "lines": lines,
        "missing": lines - written,
        "seconds": round(seconds, 1),
        "batch_lines_per_s": round(lines / seconds),
        "phases_s": phases,
        "processor_ms_a_line": {name: round(1_000 * taken / lines, 2) for name, taken in used.items()},
        "memory_mb": {name: [before[name], most[name]] for name in processes},
    }


def memory(process: psutil.Process) -> int:
    """Resident, in MB."""
    return round(process.memory_info().rss / 1e6)


if __name__ == "__main__":
    sys.exit(main())
