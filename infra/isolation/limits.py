"""The limits of an isolated process, and how it restricts itself before it reads anything."""

import contextlib
import ctypes
import os
import resource
import signal
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

WALL: Final = 3
"""The wall-clock limit as a multiple of the processor-time limit, because other work shares the machine."""

STANDS_BACK: Final = 10
"""How nice processes of heavy work are: beside them, interactive work gets nine tenths of the processor."""

_ALARM_AFTER: Final = 3
"""A multiple of a request's wall-clock limit. The worker kills the process earlier, unless the worker is gone."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
"""Options of prctl(2)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory`: bytes beyond what the process starts with. For one request: `cpu` and `wall` seconds, `answer` bytes.

    `nice`: how far the process stands back for others that need the processor, 0 to 19.

    After `requests` requests, or when it has grown, a process is replaced, because libraries leak memory. None is for
    processes of a session, which end with it.
    """

    memory: int
    cpu: float
    wall: float
    answer: int
    requests: int | None
    nice: int = 0

    def as_json(self) -> dict[str, Any]:
        """The limits as the fork server receives them."""
        return asdict(self)


def restrain(limits: Limits, name: str) -> None:
    """Limit memory, forbid writing files and core dumps, and be the first to be killed when memory runs out."""
    os.nice(limits.nice)
    _, memory = _pages()
    if memory:
        allowed = memory * resource.getpagesize() + limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(AttributeError, OSError):
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(_PR_SET_NAME, name.encode()[:15])


def allow(limits: Limits) -> None:
    """Allow processor time for one more request, and set an alarm that ends the process if nobody watches it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = ceil(used.ru_utime + used.ru_stime + limits.cpu) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
    signal.alarm(ceil(limits.wall * _ALARM_AFTER))


class Growth:
    """Tells whether this process uses half of the memory that it may use beyond what it started with."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.memory / 2
        self._began, _ = _pages()

    def half(self) -> bool:
        """Whether half of the memory is in use. Never true without /proc."""
        held, _ = _pages()
        return (held - self._began) * resource.getpagesize() > self._most


def _pages() -> tuple[int, int]:
    """The resident and virtual sizes in pages; 0 without /proc."""
    # Not `ru_maxrss`, which starts at the size of the parent process.
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY)  # `Path` takes a tenth of a question's time
    except OSError:
        return 0, 0
    try:
        fields = os.read(file, 256).split()
    finally:
        os.close(file)
    return int(fields[1]), int(fields[0])
