"""What is alive but does not work is noticed; what is busy, idle or waiting for others is left alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest
import uuid_utils.compat as uuids
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.fetcher import Fetcher

from consumers.liveness import TIMES, ConsumerStuck, ConsumerWatch
from gateway.health import routes as health
from gateway.services import Services
from infra.kafka import broker as broker_module
from infra.local.kafka import KafkaServer
from producers import agents as agents_module
from schemas.messages import Summons
from schemas.topics import Lane
from tests.integration.house import House, Worker
from tests.waiting import PATIENCE_S, until

STUCK_S = 1.2
TOPIC = "welip.noop.run.interactive"
GROUP = "welip.cpu.interactive"


def watch_of(worker: Worker, house: House, stuck_s: float = STUCK_S) -> ConsumerWatch:
    name = worker.consumers._worker_name
    return ConsumerWatch(worker.consumers.progress, house.kafka, client_id=name, stuck_s=stuck_s)


@asynccontextmanager
async def running(watch: ConsumerWatch) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(watch.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def looked(watch: ConsumerWatch, task: "asyncio.Task[None]", more: int = 2 * TIMES) -> None:
    """Wait until Kafka was asked `more` times: by default twice as often as it takes to notice what is stuck."""
    wanted = watch.looks + more
    await until(lambda: watch.looks >= wanted or task.done(), f"{more} more looks")
    if task.done():
        task.result()


async def noticed(house: House, task: "asyncio.Task[None]") -> None:
    """Wait until the watch reports it. Jobs keep coming, because a fetch under way may still bring the first ones."""
    async with asyncio.timeout(PATIENCE_S):
        while not task.done():
            await house.submit()
            await asyncio.wait({task}, timeout=STUCK_S / TIMES)
    with pytest.raises(ConsumerStuck, match=TOPIC):
        task.result()


def stale() -> Summons:
    """A summons for a job that does not exist."""
    return Summons(job_id=uuids.uuid7(), kind="noop", stage="run", epoch=0, lane=Lane.INTERACTIVE)


def pause(consumer: AIOKafkaConsumer) -> None:
    consumer.pause(*consumer.assignment())


def end_the_fetcher(consumer: AIOKafkaConsumer) -> None:
    fetcher: Fetcher = consumer._fetcher
    fetcher._fetch_task.cancel()


@pytest.mark.parametrize("hurt", [pause, end_the_fetcher])
async def test_a_consumer_that_brings_nothing_while_messages_wait_is_noticed(
    house: House, hurt: Callable[[AIOKafkaConsumer], None]
) -> None:
    worker = await house.worker()
    await house.until(await house.submit(5))
    watch = watch_of(worker, house)
    async with running(watch) as watching:
        for consumer in worker.consumers._joined.values():
            hurt(consumer)
        await noticed(house, watching)


@pytest.mark.parametrize("kafka", ["apache"], indirect=True)
async def test_a_consumer_that_lost_its_place_in_the_group_is_noticed(house: House) -> None:
    worker = await house.worker()
    await house.until(await house.submit(5))
    watch = watch_of(worker, house)
    async with running(watch) as watching:
        for consumer in worker.consumers._joined.values():
            consumer.unsubscribe()
        await noticed(house, watching)


async def test_an_idle_consumer_is_left_alone(house: House) -> None:
    worker = await house.worker()
    await house.until(await house.submit(5))
    watch = watch_of(worker, house)
    async with running(watch) as watching:
        await looked(watch, watching)


async def test_a_consumer_of_a_full_worker_is_left_alone_while_messages_wait(house: House) -> None:
    worker = await house.worker(concurrency=2)
    await house.until(await house.submit(2, input='{"sleep_s": 60}'), {"running"})
    waiting = await house.submit(6)
    watch = watch_of(worker, house)
    async with running(watch) as watching:
        await looked(watch, watching)
        assert await watch._look()
        assert await house.jobs.states(waiting) == {"queued"}


async def test_a_consumer_that_waits_for_postgres_is_left_alone(house: House) -> None:
    worker = await house.worker()
    await house.until(await house.submit(5))
    watch = watch_of(worker, house)
    async with house.database.unit_of_work() as connection:
        await connection.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        await broker_module.publish(house.broker, TOPIC, [stale()], spread=1)
        await until(lambda: any(p.able_since is None for p in worker.consumers.progress.values()), "a claim waits")
        async with running(watch) as watching:
            await looked(watch, watching)
            assert await watch._look()


@pytest.mark.parametrize("kafka", ["apache"], indirect=True)
async def test_a_worker_is_left_alone_when_messages_wait_for_a_full_one(house: House) -> None:
    full = await house.worker(concurrency=1)
    await house.until(await house.submit(1, input='{"sleep_s": 60}'), {"running"})
    idle = await house.worker()
    both = [consumer for worker in (full, idle) for consumer in worker.consumers._joined.values()]

    def assigned(consumer: AIOKafkaConsumer) -> set[int]:
        return {one.partition for one in consumer.assignment() if one.topic == TOPIC}

    await until(lambda: [len(assigned(consumer)) for consumer in both] == [2, 2], "each has its partitions")
    async with AIOKafkaProducer(bootstrap_servers=house.kafka.url) as producer:
        for n in range(house.kafka.partitions):
            await producer.send_and_wait(TOPIC, stale().model_dump_json().encode(), partition=n)
    watch = watch_of(idle, house)
    async with running(watch) as watching:
        await looked(watch, watching)
        assert await watch._look() == {}
        left = {p.partition for (_, p), at in (await watch._backlog.reach({GROUP: [TOPIC]})).items() if at.left(None)}
        assert left == assigned(both[0])


@pytest.mark.kafka
@pytest.mark.parametrize("kafka", ["apache"], indirect=True)
async def test_a_worker_survives_a_restart_of_kafka(
    house: House, kafka_broker: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "ACKNOWLEDGED_WITHIN_S", 1)
    worker = await house.worker()
    await house.until(await house.submit(5))
    watch = watch_of(worker, house, stuck_s=10)
    async with running(watch) as watching:
        await looked(watch, watching, 1)
        await asyncio.to_thread(kafka_broker.stop)
        ids = await house.submit(5)
        await until(lambda: watch._backlog._admin is None, "the watch let its connections go")
        await asyncio.to_thread(kafka_broker.start)
        await house.until(ids)
        await looked(watch, watching, TIMES + 1)


@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_a_gateway_whose_relay_hangs_in_a_round_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents_module, "SILENT_S", 0.5)
    services = cast(Services, SimpleNamespace(agents=house.agents))

    async def says(status: int) -> None:
        async def said() -> bool:
            return (await health.alive(services)).status_code == status

        await until(said, f"it says {status}")

    await until(lambda: house.agents.relay.turned_at is not None, "the relay does its rounds")
    await says(200)
    async with house.database.unit_of_work() as connection:
        await connection.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        await says(503)
    await says(200)
