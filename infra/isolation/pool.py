"""The isolated processes of one purpose: few, reused, each killed when its request exceeds a limit or is cancelled."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from infra.isolation.forks import AnswerTooLarge, Child, ChildEnded, ForkServer
from infra.isolation.frames import Frame
from infra.isolation.limits import Limits
from infra.isolation.turns import FairTurns
from schemas.errors import DependencyMissing, DependencyUnavailable, DocumentRefused, InvalidInput, JobError

_ENDED_BY_TIME: Final = frozenset({-signal.SIGXCPU, -signal.SIGALRM})

_ERRORS: Final[Mapping[str, Callable[..., JobError]]] = {
    kind.__name__: kind for kind in (DependencyMissing, DependencyUnavailable, DocumentRefused, InvalidInput)
}
"""The errors that an isolated process may report for its request; anything else is a defect in its code."""

log = structlog.get_logger(__name__)


class IsolationError(Exception):
    """The isolated process did not answer as it should, and only its request is to blame."""


class TookTooLong(IsolationError):
    """The request used more time than it may, wall-clock or processor."""


class TookTooMuch(IsolationError):
    """The request needs more memory than it may, or its answer is too large."""


class Broke(IsolationError):
    """The process died over the request, or its code raised an unexpected error; the message says which."""


class IsolatedPool:
    """At most twice `processes`, and that only while some requests are slow (`FairTurns`). For one event loop.

    `name` names the processes, also in logs; `limits` apply to one process and to one request.
    """

    def __init__(self, server: ForkServer, name: str, *, processes: int, limits: Limits) -> None:
        self._server = server
        self._name = name
        self._limits = limits
        self._most_idle = processes
        self._turns = FairTurns(processes)
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._closed = False

    async def ask(
        self, task: str, request: Mapping[str, Any], payload: bytes = b"", *, owner: str, rank: float = 0.0
    ) -> Frame:
        """The answer of a process that does nothing else meanwhile.

        Raises `IsolationError`, the `JobError` that the task raised, and `DependencyUnavailable` when no process starts
        or after `close`.
        """
        async with self._turns.turn(owner, rank):
            child, fresh = await self._take()
            try:
                return await self._ask(child, task, request, payload)
            except ChildEnded as error:
                if fresh and error.status is not None:
                    raise self._death(error) from error
            # It may have died from what earlier requests left behind, or been ended by the system while it was idle.
            child = await self._fork()
            try:
                return await self._ask(child, task, request, payload)
            except ChildEnded as error:
                raise self._death(error) from error

    @asynccontextmanager
    async def session(self, *, owner: str, rank: float = 0.0) -> AsyncIterator["Session"]:
        """A fresh process for requests that build on each other; it is killed at the end."""
        async with self._turns.turn(owner, rank):
            child = await self._fork()
            self._busy.add(child)
            try:
                yield Session(self, child)
            finally:
                self._busy.discard(child)
                await child.kill()

    async def warm(self) -> None:
        """Start a process ahead of the first request."""
        child, _ = await self._take()
        self._keep(child)

    async def close(self) -> None:
        """Kill every process. A running request raises `DependencyUnavailable`."""
        self._closed = True
        children = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*(child.kill() for child in children))

    async def _take(self) -> tuple[Child, bool]:
        """An idle process and false, or a fresh process and true."""
        while self._idle:
            child = self._idle.pop()
            if child.lives:
                return child, False
        return await self._fork(), True

    async def _fork(self) -> Child:
        if self._closed:
            raise DependencyUnavailable("the isolated processes were closed: this worker is stopping")
        return await self._server.fork(self._limits, f"welip-{self._name}")

    def _keep(self, child: Child) -> bool:
        if self._closed or len(self._idle) >= self._most_idle:
            return False
        self._idle.append(child)
        return True

    async def _ask(self, child: Child, task: str, request: Mapping[str, Any], payload: bytes) -> Frame:
        keep = False
        self._busy.add(child)
        try:
            answer, made, last = await self.answered(child, task, request, payload)
            keep = not last
            return answer, made
        except JobError:
            keep = True
            raise
        finally:
            self._busy.discard(child)
            if not (keep and child.lives and self._keep(child)):
                await child.kill()

    async def answered(
        self, child: Child, task: str, request: Mapping[str, Any], payload: bytes
    ) -> tuple[dict[str, Any], bytes, bool]:
        """What the process answers in time, and whether that was its last answer. For `Session`."""
        try:
            async with asyncio.timeout(self._limits.wall):
                frame, made = await child.ask({**request, "task": task}, payload, answer=self._limits.answer)
        except TimeoutError as error:
            log.warning("isolation.killed", pool=self._name, task=task, reason="timeout", seconds=self._limits.wall)
            raise TookTooLong from error
        except AnswerTooLarge as error:
            log.warning("isolation.killed", pool=self._name, task=task, reason="answer", bytes=self._limits.answer)
            raise TookTooMuch(f"it gives more than {self._limits.answer:,} bytes") from error
        if refused := frame.get("refused"):
            raise _ERRORS.get(refused["type"], InvalidInput)(
                refused["message"], code=refused["code"], field=refused["field"]
            )
        match frame.get("failed"):
            case "memory":
                raise TookTooMuch(f"it needs more than {self._limits.memory >> 20} MiB of memory")
            case "defect":
                raise Broke(f"what reads it gave up ({frame.get('why')})")
        return frame["answer"], made, bool(frame.get("last"))

    def death(self, error: ChildEnded) -> Exception:
        """The error that the end of a process means for its request. For `Session`."""
        return self._death(error)

    def _death(self, error: ChildEnded) -> Exception:
        if self._closed:
            return DependencyUnavailable("the isolated processes were closed: this worker is stopping")
        if error.status is None:
            return DependencyUnavailable("the fork server of the isolated processes ended")
        log.warning("isolation.killed", pool=self._name, reason="ended", status=error.status)
        if error.status in _ENDED_BY_TIME:
            return TookTooLong()
        name = signal.Signals(-error.status).name if error.status < 0 else f"status {error.status}"
        memory = f"{self._limits.memory >> 20} MiB"
        return Broke(f"what reads it crashed ({name}): it is damaged or needs more than {memory} of memory")


class Session:
    """One process and its owner's requests, in order."""

    def __init__(self, pool: IsolatedPool, child: Child) -> None:
        self._pool = pool
        self._child = child

    async def ask(self, task: str, request: Mapping[str, Any], payload: bytes = b"") -> Frame:
        """The same as `IsolatedPool.ask`, but always of the session's process."""
        try:
            answer, made, _ = await self._pool.answered(self._child, task, request, payload)
        except ChildEnded as error:
            raise self._pool.death(error) from error
        return answer, made
