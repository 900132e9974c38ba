"""The name of a worker process, a part of its fence: no other process ever has it, and it tells where that one runs."""

import os
import secrets
import socket


def own_name() -> str:
    """A new name for this process. In a container every worker is process 1, so the number alone would not do."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def has_ended(name: str) -> bool:
    """Whether the worker ran on this host and its process is gone; one of another host may live.

    False also where another process has its number now. Needs the group `embedded`.
    """
    import psutil

    host, _, process = name.rpartition("-")[0].rpartition("-")
    if host != socket.gethostname() or not process.isdecimal():
        return False
    try:
        # A dead process keeps its number until its parent has heard of it.
        return bool(psutil.Process(int(process)).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
