"""Dramatiq on Redis. A result is stored when a middleware before `Results` hears that the message was processed."""

import time
from contextlib import AbstractAsyncContextManager
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers import notes
from benchmarks.peers.queues.given import DURABLE, REDIS_URL, SILENCE_S
from benchmarks.peers.queues.threaded import Threaded, threaded


class Noting(dramatiq.Middleware):  # type: ignore[misc]
    """Writes a note when a message is done."""

    def after_process_message(
        self, broker: dramatiq.Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Middlewares are called in reverse order, so the first one is called last."""
        if exception is None:
            notes.done(message.args[0])


# Dramatiq always acknowledges late. By default, only one in a thousand commands looks for dead workers.
broker = RedisBroker(
    url=REDIS_URL, **({"heartbeat_timeout": SILENCE_S * 1000, "maintenance_chance": 100_000} if DURABLE else {})
)
broker.add_middleware(Noting(), before=type(broker.middleware[0]))
broker.add_middleware(Results(backend=RedisBackend(url=REDIS_URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def noop(key: str, seconds: float) -> str:
    """The job."""
    notes.started(key)
    if seconds:
        time.sleep(seconds)
    return key


def connect() -> AbstractAsyncContextManager[Threaded]:
    """Dramatiq's own client."""
    return threaded(noop.send)
