"""Procrastinate on PostgreSQL. It stores a status and no result, so the end is noted after `finish_job`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from procrastinate import App, PsycopgConnector
from procrastinate.manager import JobManager

from benchmarks.peers import notes
from benchmarks.peers.queues.given import CONCURRENCY, POSTGRES_URL, SILENCE_S

app = App(
    connector=PsycopgConnector(conninfo=POSTGRES_URL, min_size=CONCURRENCY, max_size=2 * CONCURRENCY),
    worker_defaults={"concurrency": CONCURRENCY, "update_heartbeat_interval": SILENCE_S / 3},
)


@app.task(name="noop")
async def noop(key: str, seconds: float) -> str:
    """The job."""
    notes.started(key)
    if seconds:
        await asyncio.sleep(seconds)
    return key


@app.periodic(cron="* * * * * */5")  # the sixth column is seconds
@app.task(queueing_lock="retry_stalled", pass_context=True)
async def retry_stalled(context: Any, timestamp: int) -> None:
    """A dead worker's jobs stay unfinished unless the user writes this, as the documentation shows."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=SILENCE_S):
        await app.job_manager.retry_job(job)


_finish_job = JobManager.finish_job


async def _noted(self: JobManager, job: Any, *args: Any, **kwargs: Any) -> None:
    await _finish_job(self, job, *args, **kwargs)
    if job.task_name == "noop":
        notes.done(job.task_kwargs["key"])


JobManager.finish_job = _noted


class Client:
    """Procrastinate's own client."""

    async def submit(self, key: str, seconds: float) -> str:
        """Submit a job."""
        await noop.defer_async(key=key, seconds=seconds)
        return key

    async def submit_many(self, keys: Sequence[str], seconds: float) -> Sequence[str]:
        """Submit many jobs."""
        await noop.batch_defer_async(*({"key": key, "seconds": seconds} for key in keys))
        return keys


@contextlib.asynccontextmanager
async def connect() -> AsyncIterator[Client]:
    """Yield the client while its connections are open."""
    async with app.open_async():
        yield Client()


async def prepare() -> None:
    """Create the schema."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
