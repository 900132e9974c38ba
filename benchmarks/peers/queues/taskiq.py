"""Taskiq on Redis: a list, or, when durable, a stream with acknowledgements. A result is stored at `post_save`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.peers import notes
from benchmarks.peers.client import one_by_one
from benchmarks.peers.queues.given import CONCURRENCY, DURABLE, REDIS_URL, SILENCE_S


class Noting(TaskiqMiddleware):  # type: ignore[misc]
    """Writes a note when a task is done."""

    def post_save(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """Called when the result is in the result backend."""
        if not result.is_err:
            notes.done(message.args[0])


broker = (
    # By default it reads a hundred messages ahead, all of which a dead worker would hold.
    RedisStreamBroker(
        REDIS_URL,
        idle_timeout=SILENCE_S * 1000,
        unacknowledged_lock_timeout=SILENCE_S,
        xread_count=2 * CONCURRENCY,
    )
    if DURABLE
    # Otherwise an idle worker dies of the 5 s time limit that redis-py 8 sets.
    else ListQueueBroker(REDIS_URL, socket_timeout=None)
)
broker = broker.with_result_backend(RedisAsyncResultBackend(REDIS_URL, result_ex_time=86_400))
broker = broker.with_middlewares(Noting())


@broker.task  # type: ignore[untyped-decorator]
async def noop(key: str, seconds: float) -> str:
    """The job."""
    notes.started(key)
    if seconds:
        await asyncio.sleep(seconds)
    return key


class Client:
    """Taskiq's own client."""

    async def submit(self, key: str, seconds: float) -> str:
        """Submit a job."""
        await noop.kiq(key, seconds)
        return key

    async def submit_many(self, keys: Sequence[str], seconds: float) -> Sequence[str]:
        """Submit many jobs."""
        return await one_by_one(self, keys, seconds)


@contextlib.asynccontextmanager
async def connect() -> AsyncIterator[Client]:
    """Yield the client while its broker is open."""
    await broker.startup()
    yield Client()
    await broker.shutdown()
