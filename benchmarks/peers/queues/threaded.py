"""A client for queues with a synchronous one: each submission runs in a thread, so a slow one delays no other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peers.client import SUBMITTERS, one_by_one


class Threaded:
    """Submits with `send(key, seconds)`, and many jobs with `send_many(keys, seconds)` if there is one."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        send: Callable[[str, float], object],
        send_many: Callable[[Sequence[str], float], object] | None,
    ) -> None:
        self._pool = pool
        self._send = send
        self._send_many = send_many

    async def submit(self, key: str, seconds: float) -> str:
        """Submit a job."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._send, key, seconds)
        return key

    async def submit_many(self, keys: Sequence[str], seconds: float) -> Sequence[str]:
        """Submit many jobs."""
        if self._send_many is None:
            return await one_by_one(self, keys, seconds)
        self._send_many(keys, seconds)
        return keys


@contextlib.asynccontextmanager
async def threaded(
    send: Callable[[str, float], object], send_many: Callable[[Sequence[str], float], object] | None = None
) -> AsyncIterator[Threaded]:
    """Yield the client while its threads live."""
    with ThreadPoolExecutor(SUBMITTERS) as pool:
        yield Threaded(pool, send, send_many)
