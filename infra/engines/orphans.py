"""Ends an engine's processes when the worker that started them is killed: else they would hold the device's memory.

vLLM's core is a child of the worker, and nothing in it notices that its parent was killed.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

LOOKS_EVERY_S: Final = 1.0
DONE: Final = b"."


@contextlib.contextmanager
def ended_with_us() -> Iterator[None]:
    """While the block runs, a process beside this one waits for its end, and then kills the children it left.

    It holds the other end of a pipe, which the kernel closes however this process ends.
    """
    command = [sys.executable, "-m", __name__, str(os.getpid())]
    # In a session of its own: what kills this process's group must not kill it too.
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            watcher.communicate(DONE)


def main() -> None:
    """The process beside it: `python -m infra.engines.orphans WORKER_PID`."""
    import psutil

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    worker, children = psutil.Process(int(sys.argv[1])), {}
    while not select.select([sys.stdin], [], [], LOOKS_EVERY_S)[0]:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = {child.pid: child for child in worker.children(recursive=True) if child.pid != os.getpid()}
    if sys.stdin.buffer.read(1) == DONE:
        return
    for child in children.values():
        with contextlib.suppress(psutil.NoSuchProcess):  # and psutil does not mistake another of the same number for it
            child.kill()


if __name__ == "__main__":
    main()
