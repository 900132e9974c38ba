"""How a process waits for its end, and how it ends when it cannot end in order."""

import asyncio
import ctypes
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

TOLD_WITHIN_S: Final = 5
_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3
"""The parameters of these names in glibc's malloc.h."""


def limit_arenas(at_most: int) -> None:
    """Limit the C library to this many memory arenas for all threads.

    By default glibc opens eight per core, and each keeps its freed memory; this was half of a worker's growth while its
    index grew. With one arena per core, the embedded index answers a fifth more slowly (decision 0026). Call this
    before threads start. Without glibc it does nothing.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, at_most)


def return_large_blocks() -> None:
    """Let the C library return every freed block of 1 MiB or more to the system at once.

    By default glibc raises this limit to 32 MiB as soon as it meets such blocks, and keeps them: a worker that had read
    a few documents of ten million characters kept a gigabyte. Without glibc it does nothing.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settle() -> None:
    """Exclude all objects made so far from garbage collection, for good; they live until the process ends.

    A full collection visits all objects and stops everything else, for some 50 ms at unpredictable times.
    """
    gc.collect()
    gc.freeze()


async def stopped_by_signal(*work: Coroutine[Any, Any, None], ends_within_s: float | None = None) -> None:
    """Run `work` until SIGTERM, SIGINT or the end of one of them, then cancel the rest. Raises the error that ended it.

    The process then has `ends_within_s` seconds to end in order, after which it is ended at once. Shutting down may
    hang, as aiokafka's `stop()` does without a broker, and nobody kills a process that ends because of a defect.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    tasks = [asyncio.create_task(stop.wait()), *(asyncio.create_task(one) for one in work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        if ends_within_s is not None:
            end_within(ends_within_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def end_at_once(tell: Callable[[], None]) -> None:
    """End this process from any thread, with status 70 (EX_SOFTWARE of sysexits.h).

    `tell` logs why, and the tracebacks of all threads follow. Both get a few seconds in all, because what hangs may be
    the reader of the log.
    """

    def say() -> None:
        tell()
        faulthandler.dump_traceback(sys.__stderr__ or 2)

    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    saying.join(TOLD_WITHIN_S)
    os._exit(os.EX_SOFTWARE)


def end_within(seconds: float) -> None:
    """End the process if it has not ended by itself within this many seconds."""
    timer = threading.Timer(seconds, end_at_once, [lambda: log.error("process.end_hangs", waited_s=seconds)])
    timer.daemon = True
    timer.start()
