"""Celery on Redis, with its pool of threads. A result is stored when the signal `task_success` comes."""

import time
from contextlib import AbstractAsyncContextManager
from typing import Any

from celery import Celery, Task
from celery.signals import task_success

from benchmarks.peers import notes
from benchmarks.peers.client import SUBMITTERS
from benchmarks.peers.queues.given import DURABLE, REDIS_URL, SILENCE_S
from benchmarks.peers.queues.threaded import Threaded, threaded

app = Celery("peer", broker=REDIS_URL, backend=REDIS_URL)
app.conf.broker_pool_limit = SUBMITTERS
app.conf.broker_connection_retry_on_startup = True
if DURABLE:
    app.conf.task_acks_late = True
    app.conf.task_reject_on_worker_lost = True
    # A dead worker's jobs come back when their visibility timeout ends and a worker checks; by default both take long.
    app.conf.broker_transport_options = {"visibility_timeout": SILENCE_S, "unacked_restore_throttle": 1}


@app.task
def noop(key: str, seconds: float) -> str:
    """The job."""
    notes.started(key)
    if seconds:
        time.sleep(seconds)
    return key


@task_success.connect
def _stored(sender: Task, **_: Any) -> None:
    notes.done(sender.request.args[0])


def connect() -> AbstractAsyncContextManager[Threaded]:
    """Celery's own client."""
    return threaded(noop.delay)
