"""The embedded broker: librdkafka's in-memory cluster with Kafka's protocol, for one machine and one worker process.

It keeps nothing across a restart and drops old messages of a long backlog. Neither loses a job, because the rescuer
summons queued jobs again. It allows one member per consumer group and is slow to replace it, so consumers take their
partitions without joining. It answers a waiting fetch only after `fetch_max_wait_ms`, hence `Pace`.
"""

import time
from collections.abc import Collection, Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from schemas.errors import DependencyMissing

PARTITIONS: Final = 2
"""How many of the four partitions that librdkafka gives each topic are used.

Every fetch asks about all of them, and one worker process reads them. One keeps some 20,000 messages.
"""


class EmbeddedBroker:
    """A running broker that lives as long as this object. `url` is its address on loopback."""

    def __init__(self, topics: Iterable[str]) -> None:
        try:
            from confluent_kafka import Producer
        except ImportError as error:
            raise DependencyMissing(
                "the embedded broker needs the `embedded` group: pip install 'welip[embedded]'"
            ) from error
        # The address is a placeholder: with a mock cluster, librdkafka replaces it with its own listener's.
        self._producer: Any = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "embedded", "log_level": 2})
        broker = next(iter(self._producer.list_topics(timeout=5).brokers.values()))
        self.url = f"{broker.host}:{broker.port}"
        for topic in topics:
            self._producer.list_topics(topic, timeout=5)  # asking for a topic creates it

    def close(self) -> None:
        """Stop listening. All messages are lost."""
        self._producer = None


class Pace:
    """How long a fetch may wait at the embedded broker: briefly while messages come, long when none do.

    A short wait keeps the latency of a busy stack low; a long one keeps an idle stack off the processor. While fetched
    messages wait for slots, most new ones would wait behind them, and each fetch takes processor time from the work.
    But those of other topics go beside them.
    aiokafka reads the value for every fetch but has no public setter; tests check that this still works.
    """

    BUSY_MS: Final = 8
    BACKLOG_MS: Final = 20
    IDLE_MS: Final = 200
    COOL_DOWN_S: Final = 2.0

    def __init__(self, consumer: AIOKafkaConsumer, *, idle_ms: int = IDLE_MS) -> None:
        """`idle_ms`: how long a fetch may wait when no message came for a while."""
        self._idle_ms = idle_ms
        self._fetcher = consumer._fetcher
        self._last = time.monotonic()

    def saw(self, messages: int, *, left: Collection[str] = ()) -> None:
        """Report how many messages the last poll brought. `left`: topics that may not be polled now, unlike the others:
        what was fetched of them keeps no others waiting.
        """
        now = time.monotonic()
        if messages:
            self._last = now
        if any(partition.topic not in left for partition in self._fetcher._records):  # fetched, not yet polled
            wait = self.BACKLOG_MS
        else:
            wait = self.BUSY_MS if now - self._last < self.COOL_DOWN_S else self._idle_ms
        self._fetcher._fetch_max_wait_ms = wait

    def rests(self) -> None:
        """Nothing will be polled for a long time."""
        self._fetcher._fetch_max_wait_ms = self._idle_ms
