"""Creates the topics, each with its partitions and a committed offset in the consumer group that reads it."""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from infra.kafka.broker import KAFKA_AWAY
from infra.patience import patiently
from infra.settings import KafkaSettings
from schemas.errors import DependencyUnavailable

RETENTION_MS: Final = 7 * 24 * 3600 * 1000
"""By the time a summons is a week old, the rescuer has long repeated it."""
COORDINATED_WITHIN_S: Final = 20


async def ensure_topics(settings: KafkaSettings, topics: Mapping[str, str]) -> list[str]:
    """Create the missing topics, given with their groups; returns their names. Raises `DependencyUnavailable`.

    A group gets a committed offset in each of its topics before any worker has run. An autoscaler reads the lag from
    committed offsets: without one it would see no lag, and start no worker.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.url, request_timeout_ms=10_000)
    try:
        await admin.start()
        try:
            missing = sorted(set(topics) - set(await admin.list_topics()))
            if missing:
                await _create(admin, settings, missing)
            for group in sorted(set(topics.values())):
                mine = [topic for topic in topics if topics[topic] == group]
                await _seed_offsets(admin, settings, group, mine, new=missing)
        finally:
            await admin.close()
    except KAFKA_AWAY as error:
        raise DependencyUnavailable(f"Kafka does not answer at {settings.url}: {error!r}") from error
    return missing


async def ensure_topics_patiently(settings: KafkaSettings, topics: Mapping[str, str]) -> list[str]:
    """Keep trying, with a log line for each failure, until Kafka answers."""
    return await patiently(lambda: ensure_topics(settings, topics), event="kafka.away")


async def _create(admin: AIOKafkaAdminClient, settings: KafkaSettings, topics: list[str]) -> None:
    answer = await admin.create_topics(
        [
            NewTopic(
                name=topic,
                num_partitions=settings.partitions,
                replication_factor=settings.replication,
                topic_configs={"retention.ms": str(RETENTION_MS)},
            )
            for topic in topics
        ]
    )
    for topic, code, *_ in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise DependencyUnavailable(f"Kafka refused to make topic {topic}: {error.__name__}")


async def _seed_offsets(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, group: str, topics: Iterable[str], *, new: Collection[str]
) -> None:
    """Commit an offset in the topics where the group has none: the beginning, or where the topic's former group was.

    Topics once had groups of their own names. Without their offsets the group would read a week of messages again.
    """
    known = {partition.topic for partition in await _committed(admin, group)}
    offsets: dict[TopicPartition, int] = {}
    for topic in set(topics) - known:
        offsets |= {TopicPartition(topic, n): 0 for n in range(settings.partitions)}
        if topic not in new:
            former = await _committed(admin, topic)
            offsets |= {partition: found.offset for partition, found in former.items() if partition.topic == topic}
    if not offsets:
        return
    [described] = await admin.describe_consumer_groups([group])
    if described.to_object()["groups"][0]["members"]:
        return  # only they may commit, and they begin at the oldest message
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.url, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(offsets))
        with contextlib.suppress(CommitFailedError):  # now it has members
            await consumer.commit(offsets)
    finally:
        await consumer.stop()


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
    """What the group has committed. A new cluster has no place for it yet, and one that restarts must read it first."""
    async with asyncio.timeout(COORDINATED_WITHIN_S):
        while True:
            try:
                return await admin.list_consumer_group_offsets(group)  # type: ignore[no-any-return]
            except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
                await asyncio.sleep(0.1)
