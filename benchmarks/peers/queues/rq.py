"""RQ on Redis: a pool of processes that do not fork for each job. A result is stored after `handle_job_success`."""

import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from redis import Redis
from rq import Queue, Retry, SimpleWorker
from rq.job import Job

from benchmarks.peers import notes
from benchmarks.peers.queues.given import DURABLE, REDIS_URL
from benchmarks.peers.queues.threaded import Threaded, threaded

# A dead worker's job is given up 60 s after its time limit, 180 s by default, and repeated only on request.
OPTIONS: dict[str, Any] = {"job_timeout": 5, "retry": Retry(max=3)} if DURABLE else {}


class NotingWorker(SimpleWorker):  # type: ignore[misc]
    """Notes the end of a job. When durable, looks for abandoned jobs every 5 s instead of 10 min (7 min when idle)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if DURABLE:
            kwargs |= {"maintenance_interval": 5, "worker_ttl": 20}  # it waits for jobs for 15 s less than the latter
        super().__init__(*args, **kwargs)

    def handle_job_success(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Called for a finished job; its result has been stored when the original returns."""
        super().handle_job_success(job, *args, **kwargs)
        notes.done(job.args[0])


def noop(key: str, seconds: float) -> str:
    """The job."""
    notes.started(key)
    if seconds:
        time.sleep(seconds)
    return key


def connect() -> AbstractAsyncContextManager[Threaded]:
    """RQ's own client."""
    queue = Queue(connection=Redis.from_url(REDIS_URL))

    def send(key: str, seconds: float) -> None:
        queue.enqueue(noop, key, seconds, **OPTIONS)

    def send_many(keys: Sequence[str], seconds: float) -> None:
        options = {"timeout" if name == "job_timeout" else name: value for name, value in OPTIONS.items()}
        queue.enqueue_many([Queue.prepare_data(noop, (key, seconds), **options) for key in keys])

    return threaded(send, send_many)
