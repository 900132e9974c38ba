"""Keeps the embedded index fast as it grows: optimises a copy of a grown shard while it is in use, then swaps it in."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Protocol

import structlog

from infra.vectors.shards import Shards
from schemas.errors import DependencyUnavailable

log = structlog.get_logger(__name__)


class Writer(Protocol):
    """Runs a function in the writer thread."""

    def __call__(self, work: Callable[[], Any], /) -> Awaitable[Any]:
        """Return its result, or raise its error."""


class Optimiser:
    """Optimises one shard at a time. Meanwhile the shard can be searched but not written; other shards can be both.

    `turn` returns the lock that writers of a shard hold.
    """

    def __init__(self, shards: Shards, write: Writer, turn: Callable[[str], AbstractAsyncContextManager[Any]]) -> None:
        self._shards = shards
        self._write = write
        self._turn = turn
        self._one = asyncio.Semaphore(1)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._given_up: set[str] = set()

    def start(self, name: str) -> None:
        """Start in the background, unless it is running for this shard or has failed since the process started."""
        if name not in self._tasks and name not in self._given_up:
            self._tasks[name] = asyncio.create_task(self._optimise(name), name=f"optimise {name}")
            self._tasks[name].add_done_callback(lambda _: self._tasks.pop(name, None))

    async def stop(self, name: str | None = None) -> None:
        """Abandon the optimisation of this shard, or of all shards. Nothing is lost."""
        tasks = [task for shard, task in self._tasks.items() if name in (None, shard)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _optimise(self, name: str) -> None:
        began = time.monotonic()
        try:
            async with self._one, self._turn(name):
                chunks = await self._swapped(name)
        except DependencyUnavailable as error:
            self._given_up.add(name)
            log.warning("index.optimise_failed", index=name, error=str(error))
            return
        log.info("index.optimised", index=name, chunks=chunks, took_s=round(time.monotonic() - began, 3))

    async def _swapped(self, name: str) -> int:
        copy = self._shards.unfinished()
        try:
            points: int | None = await self._write(lambda: self._shards.copy(name, copy))
            if points is None:
                return 0
            await _run(copy)
            await self._write(lambda: self._shards.replace(name, copy, points))
            return points
        finally:
            # In the writer thread: a copy or replacement may still run there when this task is cancelled.
            await self._write(lambda: shutil.rmtree(copy, ignore_errors=True))


async def _run(folder: Path) -> None:
    """Optimise the shard in `folder`, in a child process that ends with this one. Raises `DependencyUnavailable`."""
    command = ["-m", "infra.local.supervised", str(os.getpid()), "infra.vectors.optimising", str(folder)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, complaint = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise DependencyUnavailable(f"it ended with {process.returncode}: {complaint.decode(errors='replace')[-500:]}")
