"""Runs programs that a model wrote, each in a process that can do little (`confined.py` says what), and judges them."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from infra.harness.confined import PASSED, UNCONFINED
from infra.harness.pipe import Cannot

CONFINED: Final = Path(__file__).with_name("confined.py")
MEMORY: Final = 1024**3
SECONDS: Final = 3.0
"""How long a program may run, by lm-eval's own measure."""
AT_ONCE: Final = 4
TIMED_OUT: Final = "timed out"


def judged(program: str, seconds: float = SECONDS) -> str:
    """`passed`, `timed out`, or `failed: ` with the reason. Raises `Cannot` where programs cannot be confined.

    The program stays in this process's group, which it cannot leave: whoever kills the group kills it, too.
    """
    heard, told = os.pipe()
    limits = [str(told), str(math.ceil(seconds) + 1), str(MEMORY)]
    with os.fdopen(heard, "rb") as verdict:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", str(CONFINED), *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[told],
                cwd="/",  # a folder of its own would be left behind when this process is killed
                env={},
            )
        finally:
            os.close(told)
        try:
            process.communicate(program.encode(errors="replace"), timeout=seconds)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
        finally:
            process.kill()
            process.wait()
        if process.returncode == UNCONFINED:
            why = "this machine cannot confine the programs that a model writes: that needs seccomp, on x86-64"
            raise Cannot("sandbox_unavailable", why)
        said = verdict.read(1_000)
    if process.returncode == 0 and said == PASSED:
        return PASSED.decode()
    return f"failed: {said.decode(errors='replace') or f'it ended with {process.returncode}'}"


class CodeEval:
    """What `evaluate.load("code_eval")` gives, with the programs confined. https://arxiv.org/abs/2107.03374"""

    def compute(
        self,
        *,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        timeout: float = SECONDS,
        **_: Any,
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
        """`pass@k` over the tasks, and the verdict of each program."""
        programs = [
            (task, at, f"{candidate}\n{test}")
            for task, (test, candidates) in enumerate(zip(references, predictions, strict=True))
            for at, candidate in enumerate(candidates)
        ]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            verdicts = list(threads.map(lambda one: judged(one[2], timeout), programs))
        results: dict[int, list[tuple[int, dict[str, Any]]]] = {task: [] for task in range(len(references))}
        for (task, at, _program), said in zip(programs, verdicts, strict=True):
            told = {"task_id": task, "passed": said == PASSED.decode(), "result": said, "completion_id": at}
            results[task].append((at, told))
        counts = [(len(told), sum(one["passed"] for _, one in told)) for told in results.values()]
        return {f"pass@{n}": _mean([pass_at(n, *count) for count in counts]) for n in k if _all(counts, n)}, results


def pass_at(k: int, tried: int, passed: int) -> float:
    """The unbiased estimate that one of `k` programs passes, from `tried` of which `passed` did (Chen et al. 2021)."""
    if tried - passed < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / n for n in range(tried - passed + 1, tried + 1))


def _all(counts: Sequence[tuple[int, int]], k: int) -> bool:
    return all(tried >= k for tried, _ in counts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
