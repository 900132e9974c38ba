"""arq on Redis. A result is stored at `after_job_end`. arq always acknowledges late."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings

from benchmarks.peers import notes
from benchmarks.peers.client import one_by_one
from benchmarks.peers.queues.given import CONCURRENCY, DURABLE, REDIS_URL

LOGGING = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING"}}


async def noop(context: dict[str, Any], seconds: float) -> str:
    """The job."""
    key: str = context["job_id"]
    notes.started(key)
    if seconds:
        await asyncio.sleep(seconds)
    return key


async def _stored(context: dict[str, Any]) -> None:
    notes.done(context["job_id"])


class WorkerSettings:
    """Durable: another worker takes a job 10 s after its time limit, which is 300 s by default."""

    functions = (func(noop, name="noop"),)
    redis_settings = RedisSettings.from_dsn(REDIS_URL)
    max_jobs = CONCURRENCY
    poll_delay = float(os.environ.get("PEERS_ARQ_POLL_S", "0.01"))
    job_timeout = 5 if DURABLE else 300
    after_job_end = _stored
    log_results = False


class Client:
    """arq's own client."""

    def __init__(self, pool: ArqRedis) -> None:
        self._pool = pool

    async def submit(self, key: str, seconds: float) -> str:
        """Submit a job."""
        await self._pool.enqueue_job("noop", seconds, _job_id=key)
        return key

    async def submit_many(self, keys: Sequence[str], seconds: float) -> Sequence[str]:
        """Submit many jobs."""
        return await one_by_one(self, keys, seconds)


@contextlib.asynccontextmanager
async def connect() -> AsyncIterator[Client]:
    """Yield the client while its connections are open."""
    pool = await create_pool(RedisSettings.from_dsn(REDIS_URL))
    yield Client(pool)
    await pool.aclose()
