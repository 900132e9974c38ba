"""Freezes a process, so that it hangs like a stuck server, and lets it continue."""

import os
import signal
import time
from pathlib import Path


def freeze(pid: int) -> None:
    """Stop a process with all its threads. They have stopped on return, although the signal may take a moment."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 60
    while running := [state for state in _states(pid) if state not in "Tt"]:
        if time.monotonic() > deadline:
            raise AssertionError(f"process {pid} does not stop: its threads are {running}")
        time.sleep(0.001)


def thaw(pid: int) -> None:
    """Let the process continue."""
    os.kill(pid, signal.SIGCONT)


def _states(pid: int) -> list[str]:
    """The state of every thread as the kernel reports it; `T` means stopped."""
    # The program's name is in brackets before the state, and may hold any character.
    files = Path(f"/proc/{pid}/task").glob("*/stat")
    return [file.read_text().rpartition(")")[2].split()[0] for file in files]
