"""Apache Kafka goes away, or forgets a topic: nothing is lost, and work resumes by itself."""

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from infra.kafka import broker as kafka_module
from infra.kafka import consumer as consumer_module
from infra.kafka.backlog import Backlog
from infra.kafka.members import client_id, dismiss
from infra.kafka.topics import ensure_topics
from infra.local.kafka import KafkaServer
from infra.postgres.database import Database
from infra.settings import KafkaSettings, PostgresSettings
from tests.integration.house import House

pytestmark = pytest.mark.kafka

TOPIC = "welip.noop.run.interactive"
GROUP = "welip.cpu.interactive"


@pytest.fixture
def kafka(kafka_broker: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    monkeypatch.setattr(kafka_module, "ACKNOWLEDGED_WITHIN_S", 1)
    monkeypatch.setattr(kafka_module, "METADATA_MAX_AGE_MS", 2_000)
    return KafkaSettings(url=kafka_broker.bootstrap)


async def test_a_burst_reaches_every_worker(house: House, tmp_path: Path) -> None:
    for _ in range(2):
        await house.worker()
    await house.until(await house.submit(40))
    lasts = tmp_path / "lasts"
    lasts.touch()
    ids = await house.submit(8, kind="trial", stage="act", input=json.dumps({"while": str(lasts)}))
    rows = await house.until(ids, {"running"})
    assert len({row["worker"] for row in rows}) == 2
    lasts.unlink()
    await house.until(ids)


async def test_a_worker_that_drains_leaves_its_partitions_to_others_at_once(house: House) -> None:
    leaving, staying = await house.worker(), await house.worker()
    long = await house.submit(8, input='{"sleep_s": 600}')
    await house.until(long, {"running"})
    stopping = asyncio.create_task(leaving.stop(drain_s=600))
    backlog = Backlog(house.kafka)
    async with asyncio.timeout(120):  # with most of its drain still to come
        while set((await backlog.owners(GROUP)).values()) != {staying.name}:
            await asyncio.sleep(0.05)
    await backlog.close()
    assert not stopping.done()
    for job_id in long:
        await house.jobs.cancel(job_id)
    await stopping


async def test_while_kafka_is_down_jobs_wait_in_the_outbox_and_run_after_its_return(
    house: House, kafka_broker: KafkaServer
) -> None:
    await house.worker()
    await house.until(await house.submit(5))
    await asyncio.to_thread(kafka_broker.stop)
    ids = await house.submit(20)
    assert len(await house.jobs.fetch("SELECT id FROM outbox")) == 20
    await asyncio.to_thread(kafka_broker.start)
    rows = await house.until(ids)
    assert {(row["state"], row["epoch"]) for row in rows} == {("succeeded", 1)}


async def test_agents_that_start_before_kafka_wait_for_it(
    database: Database, postgres: PostgresSettings, kafka: KafkaSettings, kafka_broker: KafkaServer
) -> None:
    await asyncio.to_thread(kafka_broker.stop)
    async with House(database, postgres, kafka) as house:
        ids = await house.submit(5)
        worker = asyncio.create_task(house.worker())
        await asyncio.to_thread(kafka_broker.start)
        await worker
        rows = await house.until(ids)
    assert {row["state"] for row in rows} == {"succeeded"}


async def test_a_deleted_topic_is_made_again_and_every_job_runs(house: House, kafka: KafkaSettings) -> None:
    await house.worker()
    await house.until(await house.submit(5))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.url)
    await admin.start()
    try:
        await admin.delete_topics([TOPIC])
        ids = await house.submit(30)
        rows = await house.until(ids)
        assert {(row["state"], row["epoch"]) for row in rows} == {("succeeded", 1)}
        assert TOPIC in await admin.list_topics()
    finally:
        await admin.close()


async def test_topics_are_made_once_with_their_partitions_and_a_committed_offset(kafka: KafkaSettings) -> None:
    fresh, group = f"welip.test.{uuid4().hex}", f"welip.{uuid4().hex}"
    wanted = {TOPIC: GROUP, fresh: group}
    assert await ensure_topics(kafka, wanted) in ([fresh], [TOPIC, fresh])
    assert await ensure_topics(kafka, wanted) == []
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.url)
    await admin.start()
    try:
        [described] = await admin.describe_topics([fresh])
        assert len(described["partitions"]) == kafka.partitions
        committed = await admin.list_consumer_group_offsets(group)
        assert [offset.offset for offset in committed.values()] == [0] * kafka.partitions
    finally:
        await admin.close()


async def test_a_group_begins_where_the_former_group_of_its_topic_was(kafka: KafkaSettings) -> None:
    topic, group = f"welip.test.{uuid4().hex}", f"welip.{uuid4().hex}"
    await ensure_topics(kafka, {topic: topic})
    partitions = [TopicPartition(topic, n) for n in range(kafka.partitions)]
    async with AIOKafkaConsumer(bootstrap_servers=kafka.url, group_id=topic, enable_auto_commit=False) as former:
        former.assign(partitions)
        await former.commit({partitions[1]: 7})
    await ensure_topics(kafka, {topic: group})
    async with AIOKafkaConsumer(bootstrap_servers=kafka.url, group_id=group, enable_auto_commit=False) as present:
        present.assign(partitions)
        assert [await present.committed(one) for one in partitions] == [0, 7, 0, 0]


async def test_a_dead_worker_leaves_its_group_before_its_session_ends(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "SESSION_MS", 300_000)
    topic, group = f"welip.test.{uuid4().hex}", f"welip.{uuid4().hex}"
    await ensure_topics(kafka, {topic: group})
    dead = await consumer_module.join(kafka, [topic], group=group, client_id=client_id("dead"))
    alive = await consumer_module.join(kafka, [topic], group=group, client_id=client_id("alive"))
    try:
        async with asyncio.timeout(60):
            while dead._coordinator._heartbeat_task is None or len(dead.assignment()) > kafka.partitions // 2:
                await asyncio.sleep(0.05)
        for task in (dead._coordinator._coordination_task, dead._coordinator._heartbeat_task):
            task.cancel()  # it says nothing any more, and does not leave
        assert await dismiss(kafka, [group], ["dead", "unknown"]) == 1
        async with asyncio.timeout(60):
            while len(alive.assignment()) < kafka.partitions:
                await asyncio.sleep(0.05)
        assert await dismiss(kafka, [group], ["dead"]) == 0
    finally:
        await alive.stop()
        await dead.stop()
