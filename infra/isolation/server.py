"""The fork server, `python -m infra.isolation.server MODULE`: loads costly things once, then forks on request.

It never reads a tenant's data. A forked process shares its memory until one of them writes (copy-on-write), and starts
in milliseconds, where loading Kiwi takes seconds and half a gigabyte. The server has no threads, because only the
forking one survives in a child. Its standard input is a Unix socket to the worker. Lines of JSON go both ways, and
each order to fork brings the descriptor on which the new process is to answer.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from infra.isolation.child import Task, serve
from infra.isolation.limits import Limits

_DESCRIPTORS: Final = 64
"""The most descriptors that one read can bring."""

_CHANNEL: Final = 3
"""The only descriptor of a forked process besides the standard streams."""


def main() -> None:
    """Serve until the worker closes its end; then kill every forked process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the worker, which lets its work finish
    control = socket.socket(fileno=os.dup(0))
    _null(0, 1)
    tasks: Mapping[str, Task] = importlib.import_module(sys.argv[1]).tasks()
    _null(2)
    gc.collect()
    gc.freeze()  # a garbage collector that marks objects would copy their shared pages
    _Server(control, tasks).run()


class _Server:
    def __init__(self, control: socket.socket, tasks: Mapping[str, Task]) -> None:
        self._control = control
        self._tasks = tasks
        self._numbers: dict[int, int] = {}
        self._processes: dict[int, int] = {}
        self._descriptors: deque[int] = deque()
        self._rest = b""
        self._deaths, self._woken_by = os.pipe()
        for end in (self._deaths, self._woken_by):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken_by, warn_on_full_buffer=False)

    def run(self) -> None:
        self._tell(ready=True)
        try:
            while True:
                ready, _, _ = select.select([self._control.fileno(), self._deaths], [], [])
                if self._deaths in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._deaths, 1024)
                    self._reap()
                if self._control.fileno() in ready and not self._obey():
                    return
        finally:
            for process in self._numbers:
                os.kill(process, signal.SIGKILL)

    def _obey(self) -> bool:
        """Carry out the worker's orders; returns false when the worker is gone."""
        data, descriptors, _, _ = socket.recv_fds(self._control, 65_536, _DESCRIPTORS)
        if not data:
            return False
        self._descriptors.extend(descriptors)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            order: dict[str, Any] = json.loads(line)
            if "fork" in order:
                self._fork(order["fork"], Limits(**order["limits"]), order["name"])
            elif (process := self._processes.get(order["kill"])) is not None:
                # Only this loop reaps children, so the number still means that process.
                os.kill(process, signal.SIGKILL)
        return True

    def _fork(self, number: int, limits: Limits, name: str) -> None:
        channel = self._descriptors.popleft()
        try:
            process = os.fork()
        except OSError:
            os.close(channel)
            self._tell(ended=number, status=None)
            return
        if process == 0:
            self._become(channel, limits, name)
        os.close(channel)
        self._numbers[process] = number
        self._processes[number] = process

    def _become(self, channel: int, limits: Limits, name: str) -> None:
        """Run the rest of the forked process's life."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            kept = os.dup2(channel, _CHANNEL)
            os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
            serve(socket.socket(fileno=kept), self._tasks, limits, name)
            status = 0
        finally:
            # A normal exit would wait for library threads that were not forked.
            os._exit(status)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if not process:
                    return
                number = self._numbers.pop(process)
                del self._processes[number]
                self._tell(ended=number, status=os.waitstatus_to_exitcode(status))

    def _tell(self, **what: Any) -> None:
        with contextlib.suppress(ConnectionError):
            self._control.sendall(json.dumps(what).encode() + b"\n")


def _null(*streams: int) -> None:
    """Redirect these streams, so that anything that a library prints there is discarded."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(null, stream)
    os.close(null)


if __name__ == "__main__":
    main()
