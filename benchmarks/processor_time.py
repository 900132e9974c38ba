"""Which part of a running stack used how much processor time: a benchmark subtracts two readings."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import psutil

CORE: Final = "EngineCore"
"""How vLLM names the process that computes."""


class Readings:
    """Processor seconds since each process began, by part: those given, `postgres`, `engine`, and this process.

    `roots`: the processes of each part; their children count with them, except vLLM's core, which is the `engine`. On
    the embedded broker this process is that broker, too. `data`: the folder of the embedded Postgres.
    """

    def __init__(self, roots: Mapping[str, list[int]], data: Path) -> None:
        postmaster = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        self._roots = {**roots, "postgres": [postmaster]}

    def now(self) -> dict[str, float]:
        """One reading. Of processes that ended it holds what their parents waited for."""
        found = {"engine": 0.0, "benchmark": _own(psutil.Process(os.getpid()))}
        for part, pids in self._roots.items():
            found[part] = 0.0
            for pid in pids:
                with contextlib.suppress(psutil.NoSuchProcess):
                    root = psutil.Process(pid)
                    found[part] += _own(root) + _ended(root)
                    for child in root.children(recursive=True):
                        with contextlib.suppress(psutil.NoSuchProcess):
                            found["engine" if CORE in child.name() else part] += _own(child)
        return found


def spent(before: Mapping[str, float], after: Mapping[str, float], times: int) -> dict[str, float]:
    """Milliseconds of each part between two readings, divided by how often something was done meanwhile."""
    return {part: round((seconds - before[part]) * 1000 / times, 2) for part, seconds in after.items()}


def medians(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each part, over several measurements."""
    return {part: round(median(one[part] for one in found), 2) for part in found[0]}


def _own(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _ended(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)
