"""pgqueuer on PostgreSQL. Its log is its result, so the end is noted when `log_jobs` has written a batch of it."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
from pgqueuer import AsyncpgPoolDriver, PgQueuer, Queries
from pgqueuer.models import Job

from benchmarks.peers import notes
from benchmarks.peers.queues.given import POSTGRES_URL

_log_jobs = Queries.log_jobs


async def _noted(self: Queries, job_status: Sequence[Any]) -> None:
    await _log_jobs(self, job_status)
    for job, status, _ in job_status:
        if status == "successful":
            notes.done(json.loads(job.payload)[0])


Queries.log_jobs = _noted


@contextlib.asynccontextmanager
async def worker() -> AsyncIterator[PgQueuer]:
    """The worker that `pgq run` runs."""
    logging.getLogger("pgqueuer").setLevel(logging.WARNING)
    async with asyncpg.create_pool(POSTGRES_URL) as pool:
        queue = PgQueuer.from_asyncpg_pool(pool)

        @queue.entrypoint("noop")  # type: ignore[untyped-decorator]
        async def noop(job: Job) -> None:
            key, seconds = json.loads(job.payload or b"[]")
            notes.started(key)
            if seconds:
                await asyncio.sleep(seconds)

        yield queue


class Client:
    """pgqueuer's own client."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def submit(self, key: str, seconds: float) -> str:
        """Submit a job."""
        await self._queries.enqueue("noop", json.dumps([key, seconds]).encode())
        return key

    async def submit_many(self, keys: Sequence[str], seconds: float) -> Sequence[str]:
        """Submit many jobs."""
        payloads = [json.dumps([key, seconds]).encode() for key in keys]
        await self._queries.enqueue(["noop"] * len(keys), payloads, [0] * len(keys))
        return keys


@contextlib.asynccontextmanager
async def connect() -> AsyncIterator[Client]:
    """Yield the client while its connections are open."""
    async with asyncpg.create_pool(POSTGRES_URL) as pool:
        yield Client(Queries(AsyncpgPoolDriver(pool)))


async def prepare() -> None:
    """Create the schema."""
    async with asyncpg.create_pool(POSTGRES_URL, min_size=1) as pool:
        await Queries(AsyncpgPoolDriver(pool)).install()
