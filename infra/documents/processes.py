"""The parser processes of a worker: few, reused, each killed when its document takes too long or is cancelled."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Any, Final

import structlog

from infra.documents.refusals import refused
from infra.documents.wire import HEAD_BYTES, line
from infra.settings import ParserSettings
from schemas.errors import DependencyUnavailable, DocumentRefused

START_SECONDS: Final = 60.0
"""Until a fresh process says that it is ready."""

_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ")
_ENDED_BY_TIME: Final = frozenset({-signal.SIGXCPU, -signal.SIGALRM})

log = structlog.get_logger(__name__)


class ProcessEndedError(Exception):
    """A parser process ended in the middle of a document."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ParserProcesses:
    """At most `settings.processes` processes, started when they are needed. Of one event loop."""

    def __init__(self, settings: ParserSettings, *, max_chars: int) -> None:
        self._settings = settings
        self._seconds = settings.timeout.total_seconds()
        self._limits = json.dumps({"seconds": self._seconds, "memory": settings.memory_bytes, "max_chars": max_chars})
        # UTF-8 takes 4 bytes a character at most, JSON's escapes 6; headings and titles add little.
        self._max_answer = 6 * max_chars + 16 * 1024**2
        self._free = asyncio.Semaphore(settings.processes)
        self._idle: list[Process] = []
        self._busy: set[Process] = set()
        self._closed = False

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, by a process of its own for that time.

        Raises `DocumentRefused` (`document_timeout`, `document_damaged`, `document_too_large`) when the process does
        not answer as it should, `DependencyUnavailable` when none starts or all were closed.
        """
        async with self._free:
            process, fresh = await self._take()
            try:
                return await self._ask(process, request)
            except ProcessEndedError as error:
                if fresh:
                    raise self._ended(error.status) from error
            # What earlier documents left behind may have ended it, or the system while it was idle.
            process = await self._start()
            try:
                return await self._ask(process, request)
            except ProcessEndedError as error:
                raise self._ended(error.status) from error

    async def close(self) -> None:
        """Kill every process. A document that is being read raises `DependencyUnavailable`."""
        self._closed = True
        processes = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*map(_kill, processes))

    async def _take(self) -> tuple[Process, bool]:
        """An idle process, or a fresh one and true."""
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process, False
        return await self._start(), True

    async def _start(self) -> Process:
        if self._closed:
            raise DependencyUnavailable("the parser processes were closed: this worker is stopping")
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "infra.documents.child", self._limits),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=environment,
            cwd="/",
            limit=1024**2,
            # Ctrl-C is for the worker, which lets its documents finish.
            start_new_session=True,
        )
        self._busy.add(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._receive(process)
        except BaseException as error:
            await _kill(process)
            if isinstance(error, TimeoutError | ProcessEndedError):
                raise DependencyUnavailable(f"no parser process starts: {error!r}") from error
            raise
        finally:
            self._busy.discard(process)
        return process

    async def _ask(self, process: Process, request: dict[str, Any]) -> dict[str, Any]:
        self._busy.add(process)
        answer: dict[str, Any] = {}
        try:
            async with asyncio.timeout(self._seconds):
                assert process.stdin is not None
                process.stdin.write(line(request))
                answer = await self._receive(process)
            return answer
        except TimeoutError as error:
            log.warning("parser.killed", reason="timeout", seconds=self._seconds)
            raise self._too_slow() from error
        finally:
            self._busy.discard(process)
            if answer and not answer.get("last") and not self._closed:
                self._idle.append(process)
            else:
                await _kill(process)

    async def _receive(self, process: Process) -> dict[str, Any]:
        assert process.stdout is not None
        try:
            size = int.from_bytes(await process.stdout.readexactly(HEAD_BYTES), "big")
            if size > self._max_answer:
                raise refused("document_too_large", f"it gives more than {self._max_answer:,} bytes")
            answer: dict[str, Any] = json.loads(await process.stdout.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ProcessEndedError(await process.wait()) from error
        return answer

    def _ended(self, status: int) -> Exception:
        if self._closed:
            return DependencyUnavailable("the parser processes were closed: this worker is stopping")
        log.warning("parser.killed", reason="ended", status=status)
        if status in _ENDED_BY_TIME:
            return self._too_slow()
        name = signal.Signals(-status).name if status < 0 else f"status {status}"
        memory = f"{self._settings.memory_bytes >> 20} MiB"
        return refused("document_damaged", f"its parser crashed ({name}): it is damaged or needs more than {memory}")

    def _too_slow(self) -> DocumentRefused:
        return refused("document_timeout", f"it takes longer than {self._seconds:g} s to read")


async def _kill(process: Process) -> None:
    """End a process and wait until nothing of it is left, not even a zombie; also while being cancelled."""
    with suppress(ProcessLookupError):
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    await asyncio.shield(process.wait())
