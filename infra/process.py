"""How a process waits for its end, and ends when it cannot end in order."""

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
"""The parameter of that name in glibc's malloc.h."""


def limit_arenas(at_most: int) -> None:
    """Limit the C library to this many memory arenas for all threads.

    By default glibc opens eight per core, and each keeps its freed memory: half of a worker's growth while its index
    grew. With one for each core the embedded index answers a fifth more slowly (decision 0026). To be called before
    threads start; without glibc, nothing happens.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, at_most)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settle() -> None:
    """Let the garbage collector pass over what the start has made, for good: it stays until the end.

    A full collection walks through all objects, with nothing else running: for some 50 ms, whenever it thinks it is
    time.
    """
    gc.collect()
    gc.freeze()


async def stopped_by_signal(*work: Coroutine[Any, Any, None], ends_within_s: float | None = None) -> None:
    """Until SIGTERM or SIGINT, or until one of `work` ends; then the rest is cancelled. Raises what ended it.

    `ends_within_s` seconds later the process has ended in order, or it is ended at once: what must stop may hang,
    aiokafka's `stop()` without a broker for one, and a process that ends by a defect has nobody who kills it.
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

    `tell` logs why; the tracebacks of all threads follow. They get a few seconds: what hangs may be the reader of the
    log.
    """

    def say() -> None:
        tell()
        faulthandler.dump_traceback(sys.__stderr__ or 2)

    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    saying.join(TOLD_WITHIN_S)
    os._exit(os.EX_SOFTWARE)


def end_within(seconds: float) -> None:
    """End the process unless it has ended by itself within this many seconds."""
    timer = threading.Timer(seconds, end_at_once, [lambda: log.error("process.end_hangs", waited_s=seconds)])
    timer.daemon = True
    timer.start()
