"""Creates the topics, each with its partitions and a committed offset for its consumer group."""

from collections.abc import Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from infra.kafka.broker import KAFKA_AWAY
from infra.patience import patiently
from infra.settings import KafkaSettings
from schemas.errors import DependencyUnavailable

RETENTION_MS: Final = 7 * 24 * 3600 * 1000
"""By the time a summons is a week old, the rescuer has long repeated it."""


async def ensure_topics(settings: KafkaSettings, topics: Iterable[str]) -> list[str]:
    """Create the missing topics; returns their names. Raises `DependencyUnavailable`.

    The group of a new topic gets a committed offset at the topic's beginning. An autoscaler reads the lag from
    committed offsets: without one it would see no lag, and start no worker, until a worker had run once.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.url, request_timeout_ms=10_000)
    try:
        await admin.start()
        try:
            missing = sorted(set(topics) - set(await admin.list_topics()))
            if missing:
                await _create(admin, settings, missing)
        finally:
            await admin.close()
        for topic in missing:
            await _seed_offset(settings, topic)
    except KAFKA_AWAY as error:
        raise DependencyUnavailable(f"Kafka does not answer at {settings.url}: {error!r}") from error
    return missing


async def ensure_topics_patiently(settings: KafkaSettings, topics: Iterable[str]) -> list[str]:
    """Keep trying, with a log line for each failure, until Kafka answers."""
    wanted = list(topics)
    return await patiently(lambda: ensure_topics(settings, wanted), event="kafka.away")


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


async def _seed_offset(settings: KafkaSettings, topic: str) -> None:
    partitions = [TopicPartition(topic, n) for n in range(settings.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.url, group_id=topic, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        known = [await consumer.committed(partition) for partition in partitions]
        if all(offset is None for offset in known):
            await consumer.commit(dict.fromkeys(partitions, 0))
    finally:
        await consumer.stop()
