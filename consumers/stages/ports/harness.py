"""lm-evaluation-harness, in a process of its own that asks the worker for what the model says."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from schemas.kinds.benchmark.harness import Answered, Asked, Asking, Ended, HarnessPlan

Answer = Callable[[Asked], Awaitable[Answered]]


class Harness(Protocol):
    """Runs lm-eval's tasks. Many runs may go on at once."""

    def workspace(self) -> AbstractAsyncContextManager[Path]:
        """An empty folder on this machine, removed at the end."""

    async def ready(self) -> bool:
        """Whether this machine can begin at once; False: `prepare` takes a minute."""

    async def prepare(self) -> None:
        """Make what lm-eval needs on this machine. Raises `DependencyMissing`."""

    async def run(self, plan: HarnessPlan, answer: Answer, counted: Callable[[Asking], None]) -> Ended:
        """Run a plan: `answer` is called for each request, for many at once, `counted` before a number of them.

        Cancelling it kills the process and all that it started. Raises what `answer` raises, `BenchmarkFailed` with
        the code of what the process tells, and `BenchmarkBroke` for a process that died without a word.
        """
