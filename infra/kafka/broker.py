"""FastStream's broker on aiokafka, with settings that lose nothing.

By default FastStream acknowledges first, starts at the newest message and waits for one replica only. Here the producer
is idempotent with `acks=all`.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker

from infra.kafka.embedded import PARTITIONS
from infra.settings import KafkaSettings
from schemas.errors import DependencyUnavailable
from schemas.messages import Summons

KAFKA_AWAY: Final = (KafkaError, OSError, TimeoutError)
"""What aiokafka raises when the cluster is away."""

MAX_BATCH_BYTES: Final = 512 * 1024
"""Limit for a produced batch. A summons has about 250 bytes, and a topic's broker accepts 1 MiB."""

MESSAGES_A_BATCH: Final = 1_000
TOGETHER: Final = 4
"""Up to this many messages are not worth a batch for each partition."""
ACKNOWLEDGED_WITHIN_S: Final = 10

METADATA_MAX_AGE_MS: Final = 10_000
"""How long, in milliseconds, a consumer may fail to notice that a topic was deleted and created again."""

EMBEDDED_METADATA_MAX_AGE_MS: Final = 300_000
"""The embedded broker's topics live as long as it does. To read about all of them takes as long as ten no-op jobs."""


class Rotation:
    """Chooses partitions in turn, one per batch; random choice would give a burst to few workers while others idle.

    A partitioner for aiokafka. Messages have no keys, because their order does not matter.
    """

    def __init__(self, used: int | None = None) -> None:
        """`used`: only so many partitions of each topic get batches, the first ones; None: all."""
        self._used = used
        self._next = random.randrange(1 << 16)  # so that processes do not move in step

    def __call__(self, key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
        """The partition for the current batch."""
        self._next += 1
        choice = sorted(available or partitions)[: self._used]
        return choice[self._next % len(choice)]


def metadata_max_age_ms(settings: KafkaSettings) -> int:
    """How old, in milliseconds, what a client knows of the topics may be."""
    return EMBEDDED_METADATA_MAX_AGE_MS if settings.embedded else METADATA_MAX_AGE_MS


def kafka_broker(settings: KafkaSettings, *, client_id: str) -> KafkaBroker:
    """A broker for publishing and consuming. It connects when it is started."""
    return KafkaBroker(
        settings.url,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        max_batch_size=MAX_BATCH_BYTES,
        linger_ms=0,
        partitioner=Rotation(PARTITIONS if settings.embedded else None),
        request_timeout_ms=10_000,
        retry_backoff_ms=100,
        metadata_max_age_ms=metadata_max_age_ms(settings),
        allow_auto_create_topics=False,
        logger=logging.getLogger("faststream"),
        log_level=logging.DEBUG,
    )


async def publish(broker: KafkaBroker, topic: str, summons: Sequence[Summons], *, spread: int) -> None:
    """Publish to one topic; returns when all in-sync replicas have every message.

    Messages without a trace travel in batches, spread over `spread` partitions. A traced message travels alone, so that
    its headers can carry its W3C `traceparent`. Raises `DependencyUnavailable`.
    """
    plain = [s.model_dump_json(exclude_none=True).encode() for s in summons if s.traceparent is None]
    acknowledged: list[Any] = []
    try:
        size = min(MESSAGES_A_BATCH, max(-(-len(plain) // spread), TOGETHER))
        for start in range(0, len(plain), size):
            batch = plain[start : start + size]
            acknowledged.append(await broker.publish_batch(*batch, topic=topic, no_confirm=True))
        for one in summons:
            if one.traceparent is not None:
                body, headers = one.model_dump_json().encode(), {"traceparent": one.traceparent}
                acknowledged.append(await broker.publish(body, topic=topic, headers=headers, no_confirm=True))
        # An idempotent producer never gives up a batch, and a cancelled wait would break its sender. So only stop
        # waiting; anything it delivers later is a repeated summons.
        _, late = await asyncio.wait(acknowledged, timeout=ACKNOWLEDGED_WITHIN_S)
        for future in acknowledged:
            future.add_done_callback(lambda f: f.cancelled() or f.exception())
        for future in acknowledged:
            if future in late:
                raise TimeoutError(f"no acknowledgement within {ACKNOWLEDGED_WITHIN_S} s")
            future.result()
    except KAFKA_AWAY as error:
        raise DependencyUnavailable(f"Kafka does not accept messages: {error!r}") from error
