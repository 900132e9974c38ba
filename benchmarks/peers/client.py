"""Submits jobs to one queue, as its users do: `python -m benchmarks.peers.client FILE QUEUE many|load|prepare ...`.

Runs in the queue's own environment. Writes JSON into the file: for each job, when it was sent and its key in the notes.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path
from typing import Protocol

import uvloop

SUBMITTERS = 32
"""How many submissions run at once where many jobs are submitted one by one."""

WARM_UP = 64
"""How many unmeasured submissions precede a load, so that its connections are already open."""


class Queue(Protocol):
    """What a queue's module offers through `connect()`. It may also have `prepare()`, which creates the schema."""

    async def submit(self, key: str, seconds: float) -> str:
        """Submit a job that takes `seconds` (0: nothing at all); returns its key in the notes."""

    async def submit_many(self, keys: Sequence[str], seconds: float) -> Sequence[str]:
        """The same for many jobs, in the way that the queue recommends."""


class Module(Protocol):
    """A module of `benchmarks.peers.queues`."""

    def connect(self) -> AbstractAsyncContextManager[Queue]:
        """A client of the queue."""


async def one_by_one(queue: Queue, keys: Sequence[str], seconds: float) -> list[str]:
    """`submit_many` for a queue that offers nothing better: 32 submissions at once."""
    wanted = iter(keys)
    found: list[str] = []

    async def submitter() -> None:
        for key in wanted:
            found.append(await queue.submit(key, seconds))

    await asyncio.gather(*(submitter() for _ in range(SUBMITTERS)))
    return found


async def load(queue: Queue, name: str, *, per_second: int, seconds: float) -> list[tuple[float, str]]:
    """Submit no-op jobs at a fixed rate: a late answer never delays the next submission."""
    await asyncio.gather(*(queue.submit(f"{name}-warm-{n}", 0) for n in range(WARM_UP)))
    await asyncio.sleep(0.3)
    sent: list[tuple[float, str]] = []

    async def one(key: str) -> None:
        at = time.time()
        sent.append((at, await queue.submit(key, 0)))

    tasks = []
    began = time.perf_counter()
    for n in range(int(per_second * seconds)):
        await asyncio.sleep(max(began + n / per_second - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(one(f"{name}-{n}")))
    await asyncio.gather(*tasks)
    return sent


async def main(module: Module, mode: str, *given: str) -> object:
    """Run one mode; returns what is to be written to the file."""
    if mode == "prepare":
        await module.prepare()  # type: ignore[attr-defined]  # where the registry of systems says that there is one
        return None
    async with module.connect() as queue:
        if mode == "many":
            name, count, seconds = given[0], int(given[1]), float(given[2])
            at = time.time()
            keys = await queue.submit_many([f"{name}-{n}" for n in range(count)], seconds)
            return list(zip(itertools.repeat(at), keys, strict=False))
        return await load(queue, given[0], per_second=int(given[1]), seconds=float(given[2]))


if __name__ == "__main__":
    found = import_module(f"benchmarks.peers.queues.{sys.argv[2]}")
    Path(sys.argv[1]).write_text(json.dumps(uvloop.run(main(found, *sys.argv[3:]))))
