"""The worker's side of lm-evaluation-harness: starts its process, answers what it asks, and ends it."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog
from pydantic import ValidationError

from infra.harness.settings import HarnessSettings
from infra.local import harness
from schemas.errors import BenchmarkBroke, BenchmarkFailed
from schemas.kinds.benchmark.harness import FRAME, Answered, Asked, Asking, Ended, Failed, Frame, HarnessPlan

log = structlog.get_logger(__name__)

AT_ONCE: Final = 32
"""Requests that are under way; how many of them the model works on is up to its own gate."""
LONGEST_FRAME: Final = 64 * 1024 * 1024
LAST_WORDS: Final = 4_000
"""Bytes of what it wrote to its log that are kept of a process that died."""


class HarnessProcess:
    """Implements `Harness`."""

    def __init__(self, settings: HarnessSettings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def workspace(self) -> AsyncIterator[Path]:
        """An empty folder, removed at the end: by the process if this worker is killed."""
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="welip-harness-"))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def ready(self) -> bool:
        """Whether there is a Python with lm-eval."""
        return self._python() is not None

    async def prepare(self) -> None:
        """Make the environment. Raises `DependencyMissing`."""
        await asyncio.to_thread(harness.install)

    async def run(
        self, plan: HarnessPlan, answer: Callable[[Asked], Awaitable[Answered]], counted: Callable[[Asking], None]
    ) -> Ended:
        """As `Harness` says."""
        log_file = Path(plan.folder) / "log.txt"
        process = await self._start(plan, log_file)
        try:
            ended = await _Talk(process, answer, counted).last()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        match ended:
            case Ended():
                return ended
            case Failed(retryable=True):
                raise BenchmarkBroke(ended.message, code=ended.code)
            case Failed():
                raise BenchmarkFailed(ended.message, code=ended.code)
        log.error("harness.died", status=process.returncode, said=await asyncio.to_thread(_tail, log_file))
        raise BenchmarkBroke(f"the process of lm-eval died (status {process.returncode}); see the worker's log")

    async def _start(self, plan: HarnessPlan, log_file: Path) -> Process:
        file = Path(plan.folder) / "plan.json"
        await asyncio.to_thread(file.write_text, plan.model_dump_json(), encoding="utf-8")
        python = self._python()
        assert python is not None  # the stage asked whether all is ready
        offline = all(task.data is not None for task in plan.tasks)
        with log_file.open("wb") as log_end:
            return await asyncio.create_subprocess_exec(
                python,
                "-m",
                "infra.harness.runner",
                str(file),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log_end,
                env=harness.environment(Path(plan.folder), offline=offline),
                cwd=plan.folder,
                start_new_session=True,
                limit=LONGEST_FRAME,
            )

    def _python(self) -> str | None:
        found = self._settings.python or harness.installed()
        return None if found is None else str(found)


class _Talk:
    """What a process asks, and what it is answered."""

    def __init__(
        self, process: Process, answer: Callable[[Asked], Awaitable[Answered]], counted: Callable[[Asking], None]
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout
        self._answer = answer
        self._counted = counted
        self._turn = asyncio.Lock()

    async def last(self) -> Ended | Failed | None:
        """Until its last word; None: it died without one. The first error of an answer ends it."""
        working: set[asyncio.Task[None]] = set()
        reading = asyncio.create_task(self._from.readline())
        try:
            while True:
                heard = {reading} if len(working) < AT_ONCE else set()
                done, _ = await asyncio.wait({*heard, *working}, return_when=asyncio.FIRST_COMPLETED)
                for task in done & working:
                    working.discard(task)
                    task.result()
                if reading in done:
                    if not (line := reading.result()):
                        return None
                    frame = _frame(line)
                    if isinstance(frame, Ended | Failed):
                        return frame
                    if isinstance(frame, Asking):
                        self._counted(frame)
                    elif frame is not None:
                        working.add(asyncio.create_task(self._told(frame)))
                    reading = asyncio.create_task(self._from.readline())
        finally:
            for task in {reading, *working}:
                task.cancel()
            await asyncio.gather(reading, *working, return_exceptions=True)

    async def _told(self, asked: Asked) -> None:
        answered = await self._answer(asked)
        with contextlib.suppress(ConnectionError):  # it died: its last word, or the lack of one, says why
            async with self._turn:
                self._to.write(answered.model_dump_json().encode() + b"\n")
                await self._to.drain()


def _frame(line: bytes) -> Frame | None:
    """None: a library printed it."""
    with contextlib.suppress(ValidationError):
        return FRAME.validate_json(line)
    return None


def _tail(file: Path) -> str:
    with file.open("rb") as read:
        read.seek(max(0, file.stat().st_size - LAST_WORDS))
        return read.read().decode(errors="replace")
