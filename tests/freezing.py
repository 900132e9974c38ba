"""Stops a process where it stands, as a hanging server, and lets it go on."""

import os
import signal
import time
from pathlib import Path


def freeze(pid: int) -> None:
    """Stop a process, its threads too. They have stopped when this returns: the signal alone may come a moment late."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while running := [state for state in _states(pid) if state not in "Tt"]:
        if time.monotonic() > deadline:
            raise AssertionError(f"process {pid} does not stop: its threads are {running}")
        time.sleep(0.001)


def thaw(pid: int) -> None:
    """Let it go on."""
    os.kill(pid, signal.SIGCONT)


def _states(pid: int) -> list[str]:
    """Of every thread, as the kernel gives them: `T` is stopped."""
    # The name of a program stands in brackets before the state, and may hold any character.
    files = Path(f"/proc/{pid}/task").glob("*/stat")
    return [file.read_text().rpartition(")")[2].split()[0] for file in files]
