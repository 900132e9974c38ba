"""A server process of the local stack: logs to a file, is ready by a deadline, is stopped cleanly or killed."""

import errno
import os
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

import typer

from schemas.errors import Conflict, DependencyUnavailable, JobError

LOOPBACK = "127.0.0.1"
PORTS: Final = range(20_000, 32_768)
"""To choose from: below those that Linux gives to connections, which might take a port before its server does."""
TRIES: Final = 100


def cache_folder() -> Path:
    """Where downloaded and built servers are kept: `$WELIP_CACHE`, else `~/.cache/welip`."""
    return Path(os.environ.get("WELIP_CACHE") or Path.home() / ".cache" / "welip")


def free_port(host: str = LOOPBACK, *, preferred: int | None = None) -> int:
    """A TCP port that nothing uses now on an address of this machine: `preferred`, if that is one.

    Raises `Conflict` when none is found, and when nothing can listen on `host`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [] if preferred is None else [preferred]
    for port in (*wanted, *(secrets.choice(PORTS) for _ in range(TRIES))):
        with socket.socket(family) as probe:
            # As a server does: connections that have just ended are in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise Conflict(f"nothing can listen on {host}: {error.strerror}") from error
            else:
                return port
    raise Conflict(f"no port from {PORTS.start} to {PORTS.stop - 1} is free on {host}")


def require_free(port: int) -> None:
    """Raise `Conflict` when something already listens on the loopback `port`."""
    if accepts(port):
        raise Conflict(f"port {port} is in use; choose another one or stop what listens there")


def accepts(port: int) -> bool:
    """Whether something on this machine accepts connections on `port`."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


class Child:
    """One server process. `start` returns when it is ready, `stop` when it is gone; it may be started again.

    It runs in its own session, so that Ctrl-C reaches only its owner, which then stops it in order. `keeps` are open
    files that it inherits, such as a lock that shows it is alive.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        keeps: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._command = list(command)
        self._log = log
        self._env = {**os.environ, **(env or {})}
        self._keeps = tuple(keeps)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id, for fault tests that signal it; None when it was never started."""
        return self._process.pid if self._process else None

    def start(self, ready: Callable[[], bool], *, deadline_s: float) -> None:
        """Start the process and call `ready` until it returns true.

        Raises `DependencyUnavailable`, with the end of the log, when the process dies or `deadline_s` passes first.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
                pass_fds=self._keeps,
            )
        deadline = time.monotonic() + deadline_s
        try:
            while not ready():
                if not self.running:
                    raise DependencyUnavailable(f"{self.name} ended while starting: {self.log_tail()}")
                if time.monotonic() > deadline:
                    raise DependencyUnavailable(f"{self.name} was not ready in {deadline_s:g} s: {self.log_tail()}")
                time.sleep(0.05)
        except BaseException:
            self.kill()
            raise

    def stop(self, grace_s: float = 15) -> None:
        """Ask the process to end; kill it after `grace_s` seconds. No error when it is already gone."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once, as a power cut would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that it logged since its start, for an error message."""
        try:
            with self._log.open("rb") as log:
                log.seek(self._log_begins)
                said = b"".join(deque(log, lines)).decode(errors="replace").strip()
                return said or f"nothing in {self._log}"
        except OSError:
            return f"no log at {self._log}"


class LocalServer(ABC):
    """One of the project's servers on loopback; keeps everything under `data`, and its port over restarts.

    `with server:` starts and stops it.
    """

    grace_s: ClassVar[float] = 15
    """How many seconds it may take to stop in order."""

    def __init__(self, data: Path, *, port: int | None = None) -> None:
        self._data = data
        self.port = port or free_port()
        self._child: Child | None = None

    @abstractmethod
    def start(self) -> Self:
        """Start and wait until it answers; installs the server first if it is missing."""

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int | None:
        """The process id, for fault tests."""
        return self._child.pid if self._child else None

    def stop(self) -> None:
        """Stop in order."""
        if self._child:
            self._child.stop(self.grace_s)

    def kill(self) -> None:
        """End it at once; `start` brings it back on the same port and data."""
        if self._child:
            self._child.kill()

    def restart(self) -> None:
        """Stop in order and start again on the same port and data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def run_in_foreground(server: LocalServer, announce: Callable[[], None]) -> int:
    """Start, announce, and wait for Ctrl-C, SIGTERM or the server's own end; returns the exit status."""
    for name in (signal.SIGINT, signal.SIGTERM):  # SIGINT as well: a background shell starts us with it ignored
        signal.signal(name, signal.default_int_handler)
    try:
        with server:
            announce()
            while server.running:
                time.sleep(0.2)
        typer.echo("the server ended by itself; its log says why", err=True)
    except JobError as error:
        typer.echo(error.message, err=True)
    except KeyboardInterrupt:
        return 0
    return 1
