"""Tests that need another environment, by a pytest of its own. It runs beside the tests of this folder: most of the
time it loads one library or another.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.local import engines
from tests.contract.isolated import OTHERS

POLITE = ("nice", "-n", "5")
"""The tests of this folder go first where both want the processor."""


@dataclass(frozen=True)
class Suite:
    """`tests`: a folder; `python`: makes the environment, or raises `DependencyMissing`; `within_s`: for the tests."""

    tests: str
    python: Callable[[], Path]
    environment: Callable[[], Mapping[str, str]]
    within_s: float
    options: Sequence[str] = ()

    def run(self, folder: Path, children: list[subprocess.Popen[str]]) -> subprocess.CompletedProcess[str]:
        """Run it to its end. `children` gets the process."""
        # Warnings of torch and its like are not ours to mend.
        options = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", f"--basetemp={folder / 'apart'}"]
        command = [*POLITE, str(self.python()), "-m", "pytest", self.tests, *options, "--durations=5", *self.options]
        with subprocess.Popen(
            command,
            env=dict(self.environment()),
            cwd=engines.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            OTHERS.add(process.pid)
            children.append(process)
            try:
                said, complained = process.communicate(timeout=self.within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, said, complained)


class Beside:
    """The suites that run, one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="apart")
        self._ends: dict[str, Future[subprocess.CompletedProcess[str]]] = {}
        self._children: list[subprocess.Popen[str]] = []

    @classmethod
    @contextmanager
    def running(cls, suites: Mapping[Path, Suite]) -> Iterator[Self]:
        """`suites`: each with its folder. What has not ended with the block is killed."""
        beside = cls()
        for folder, suite in suites.items():
            beside._ends[suite.tests] = beside._pool.submit(suite.run, folder, beside._children)
        try:
            yield beside
        finally:
            beside._pool.shutdown(wait=False, cancel_futures=True)
            for child in beside._children:
                child.kill()

    def passed(self, suite: Suite) -> None:
        """Wait for its end. Fails with what it printed; raises `DependencyMissing` where it cannot run."""
        done = self._ends[suite.tests].result()
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert " skipped" not in done.stdout.splitlines()[-1]
