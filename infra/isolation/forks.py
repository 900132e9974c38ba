"""The worker's end of a fork server: starts it on demand, restarts it when it dies, and forks and kills through it."""

import asyncio
import json
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from itertools import count
from typing import Any, Final

import structlog

from infra.isolation.frames import HEAD, Frame, pack, unpack
from infra.isolation.limits import Limits
from schemas.errors import DependencyUnavailable

START_SECONDS: Final = 120.0
"""How long a fresh server may take to load what it shares; Kiwi alone takes seconds on an idle machine."""

_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ")
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Threads of numerical libraries would be missing after a fork."""

log = structlog.get_logger(__name__)


class ChildEnded(Exception):
    """An isolated process ended, with an exit status (negative for a signal) or with its server (None)."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class AnswerTooLarge(Exception):
    """An isolated process answers with more bytes than it may."""


class Child:
    """A forked process that is asked one thing at a time."""

    def __init__(
        self,
        server: "ForkServer",
        number: int,
        ended: asyncio.Future[int | None],
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._server = server
        self._number = number
        self._ended = ended
        self._reader, self._writer = streams

    @property
    def lives(self) -> bool:
        """Whether the process has not been reported as ended."""
        return not self._ended.done()

    async def ask(self, request: dict[str, Any], payload: bytes, *, answer: int) -> Frame:
        """The process's answer, of at most `answer` bytes. Raises `ChildEnded` and `AnswerTooLarge`."""
        try:
            self._writer.write(pack(request, payload))
            # Wait for the answer while the request is still being sent: a process that has ended reads nothing.
            size, rest = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            if size + rest > answer:
                raise AnswerTooLarge
            # Read apart: a payload may be large, and to cut it out would copy it while everything else waits.
            body = await self._reader.readexactly(size)
            return unpack(body, await self._reader.readexactly(rest))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
            raise ChildEnded(await self.kill()) from error

    async def kill(self) -> int | None:
        """End the process and wait, even while being cancelled, until not even a zombie is left; returns its status."""
        self._writer.close()
        self._server.kill(self._number)
        return await asyncio.shield(self._ended)


class ForkServer:
    """A process that has loaded `module` and forks on request; started by the first `fork`. For one event loop.

    `module.tasks()` loads what the processes share and returns what they can do, as a `Task` for each name.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._numbers = count(1)
        self._starting: asyncio.Task[socket.socket] | None = None
        self._process: Process | None = None
        self._control: socket.socket | None = None
        self._ready: asyncio.Future[None] | None = None
        self._ended: dict[int, asyncio.Future[int | None]] = {}
        self._rest = b""
        self._closed = False

    async def fork(self, limits: Limits, name: str) -> Child:
        """A fresh process. Raises `DependencyUnavailable` when the server does not start or was closed."""
        control = await self._started()
        number = next(self._numbers)
        ours, theirs = socket.socketpair()
        ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        with theirs:
            order = json.dumps({"fork": number, "limits": limits.as_json(), "name": name}).encode() + b"\n"
            self._ended[number] = ended
            try:
                socket.send_fds(control, [order], [theirs.fileno()])
            except OSError as error:
                del self._ended[number]
                ours.close()
                raise DependencyUnavailable("the fork server of the isolated processes is gone") from error
        ours.setblocking(False)
        try:
            streams = await asyncio.open_unix_connection(sock=ours, limit=1024**2)
        except BaseException:
            ours.close()
            self.kill(number)
            raise
        return Child(self, number, ended, streams)

    def kill(self, number: int) -> None:
        """End the process of this number if it still runs."""
        if number in self._ended and self._control is not None:
            try:
                self._control.send(json.dumps({"kill": number}).encode() + b"\n")
            except OSError:  # the server takes no more orders; its children end with it
                self._kill_server()

    async def close(self) -> None:
        """End the server and all that it forked."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._stop()

    async def _started(self) -> socket.socket:
        if self._control is not None and self._ready is not None and self._ready.done():
            return self._control
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        # A job that is cancelled while it waits must not cancel what others wait for.
        return await asyncio.shield(self._starting)

    async def _start(self) -> socket.socket:
        if self._closed:
            raise DependencyUnavailable("the isolated processes were closed: this worker is stopping")
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", "infra.isolation.server", self._module),
                stdin=theirs.fileno(),
                stdout=DEVNULL,
                stderr=PIPE,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        loop = asyncio.get_running_loop()
        ours.setblocking(False)
        self._ready, self._rest, self._control = loop.create_future(), b"", ours
        loop.add_reader(ours.fileno(), self._hear, ours)
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.shield(self._ready)
        except BaseException as error:
            why = await self._last_words()
            await self._stop()
            if isinstance(error, TimeoutError | ConnectionError):
                raise DependencyUnavailable(f"the fork server of {self._module} does not start: {why}") from error
            raise
        return ours

    def _hear(self, control: socket.socket) -> None:
        try:
            data = control.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(control)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "ready" in told:
                if self._ready is not None and not self._ready.done():
                    self._ready.set_result(None)
            elif (ended := self._ended.pop(told["ended"], None)) is not None:
                ended.set_result(told["status"])

    def _lost(self, control: socket.socket) -> None:
        """Handle the loss of the server, with which all its children end (`limits.restrain`)."""
        asyncio.get_running_loop().remove_reader(control.fileno())
        control.close()
        if self._control is control:
            self._control = None
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(ConnectionResetError("it ended"))
            self._ready.exception()  # retrieved here, because the waiter may have been cancelled
        elif not self._closed:
            log.error("isolation.server_gone", module=self._module)
        ended, self._ended = self._ended, {}
        for one in ended.values():
            one.set_result(None)

    async def _stop(self) -> None:
        if self._control is not None:
            self._lost(self._control)
        if self._process is not None:
            self._kill_server()
            await asyncio.shield(self._process.wait())
            self._process = None

    def _kill_server(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _last_words(self) -> str:
        """The last output of a server that ended; a traceback ends with the reason."""
        if self._process is None or self._process.stderr is None or self._control is not None:
            return "it takes too long"
        lines = (await self._process.stderr.read()).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended"
