"""Joins consumer groups: consumers that start at the oldest message and commit by hand."""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.kafka.broker import MAX_BATCH_BYTES, metadata_max_age_ms
from infra.kafka.embedded import PARTITIONS
from infra.kafka.fetching import quicken_fetches
from infra.settings import KafkaSettings

SESSION_MS: Final = 6_000
"""How long the partitions of a dead worker wait if nobody dismisses it; brokers allow no less by default.

If a stage blocks the loop for longer, this costs a rebalance but no job, because a thread keeps the leases.
"""

HEARTBEAT_MS: Final = 500
"""A member hears of another that joins or leaves with its next heartbeat; meanwhile those that have heard wait."""


WAITS_FOR_POLL_S: Final = 0.1
"""aiokafka's default: while what it fetched of a broker is polled within this time, it fetches nothing else there. So
one fetch asks for all partitions, also for those that were just polled.
"""

LEFT_ASIDE_S: Final = 0.005
"""The same while messages of some topics may not be polled: what comes for the others must not wait for them."""


def leave_aside(consumer: AIOKafkaConsumer, topics: Collection[str]) -> None:
    """Say of which topics nothing is polled for now. aiokafka has no public setter; a test checks that this works."""
    consumer._fetcher._prefetch_backoff = LEFT_ASIDE_S if topics else WAITS_FOR_POLL_S


async def join(settings: KafkaSettings, topics: Sequence[str], *, group: str, client_id: str) -> AIOKafkaConsumer:
    """A started consumer of these topics, with its partitions. Raises one of `KAFKA_AWAY`; then nothing is left open.

    It waits until the group's other members have heard of it, which takes them up to a heartbeat.
    """
    quicken_fetches()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.url,
        group_id=group,
        client_id=client_id,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        max_poll_interval_ms=300_000,
        max_partition_fetch_bytes=MAX_BATCH_BYTES * 2,
        fetch_max_wait_ms=20 if settings.embedded else 500,
        request_timeout_ms=10_000,
        retry_backoff_ms=100,
        metadata_max_age_ms=metadata_max_age_ms(settings),
    )
    if settings.embedded:
        # Assigned by ourselves, not joined: the embedded broker takes 3 s to let a first member into a group, and a
        # whole session timeout to let in one that follows another. Offsets are committed all the same.
        consumer.assign([TopicPartition(topic, n) for topic in topics for n in range(PARTITIONS)])
    else:
        consumer.subscribe(topics)
    try:
        await consumer.start()
    except BaseException:
        with contextlib.suppress(TimeoutError):  # it may wait for a group whose broker is away
            await asyncio.wait_for(consumer.stop(), 5)
        raise
    return consumer
