"""Garbage on a topic: kept once and whole, before its offset is committed, while its neighbours run."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.testing import capture_logs

from infra.kafka.topics import ensure_topics
from infra.local.postgres import EmbeddedPostgres
from infra.postgres.database import Database
from infra.postgres.migrate import migrate
from infra.settings import KafkaSettings, PostgresSettings
from tests.integration.house import House
from tests.integration.jobs import new_job
from tests.waiting import until

TOPIC = "welip.noop.run.interactive"
GROUP = "welip.cpu.interactive"
STRANGE = {"job_id": str(new_job().id), "kind": "noop", "stage": "run", "epoch": 0, "lane": "interactive"}


def summons(**changes: object) -> bytes:
    return json.dumps(STRANGE | changes).encode()


async def letters(house: House, *payloads: bytes) -> list[asyncpg.Record]:
    """The letters of these payloads; other tests leave garbage on the same topic."""
    return await house.jobs.fetch(
        "SELECT * FROM dead_letter WHERE source = 'message' AND payload = ANY($1::bytea[]) ORDER BY id", list(payloads)
    )


async def kept(house: House, *payloads: bytes) -> list[asyncpg.Record]:
    """The letters of these payloads, as soon as all are there."""

    async def all_there() -> bool:
        return len(await letters(house, *payloads)) >= len(payloads)

    await until(all_there, f"{len(payloads)} letters")
    return await letters(house, *payloads)


async def committed(kafka: KafkaSettings) -> dict[int, int]:
    """The next offset that the topic's group reads in each partition."""
    group = "welip.interactive" if kafka.embedded else GROUP
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.url, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(TOPIC, n) for n in range(4)]
        consumer.assign(partitions)
        return {one.partition: await consumer.committed(one) or 0 for one in partitions}
    finally:
        await consumer.stop()


async def test_what_cannot_be_read_is_kept_and_its_neighbours_run(house: House) -> None:
    await house.worker()
    token = uuid4().hex
    unreadable = {
        token.encode(): "Invalid JSON",
        b"\x00\xff" + token.encode(): "Invalid JSON",
        json.dumps({"token": token}).encode(): "job_id: Field required; and 4 more",
        summons(version=2, token=token): "version: Input should be 1",
        summons(epoch=2**40, token=token): "epoch: Input should be less than",
        summons(job_id="\0" + token): "job_id: Input should be a valid UUID",
        b'{"kind": "\\ud800", "token": "' + token.encode() + b'"}': "Invalid JSON",
        token.encode() * (1_000_000 // len(token)): "Invalid JSON",
    }
    misplaced = {
        summons(stage="\0", token=token): "'welip.noop.\\x00.interactive'",
        summons(lane="bulk", token=token): "'welip.noop.run.bulk'",
        summons(kind="k" * 100_000, token=token): "'welip.kkk",
    }
    ids = []
    for body in (*unreadable, *misplaced):
        ids += await house.submit(2)
        await house.broker.publish(body, topic=TOPIC)
    ids += await house.submit(20)
    rows = await house.until(ids)
    assert {(row["state"], row["epoch"]) for row in rows} == {("succeeded", 1)}
    for reason, wanted in (("unreadable_message", unreadable), ("misplaced_message", misplaced)):
        for letter in await kept(house, *wanted):
            error = json.loads(letter["error"])
            assert wanted[letter["payload"]] in error["message"], error
            assert (letter["reason"], error["code"], error["retryable"]) == (reason, reason, False)
            assert len(letter["error"]) < 1000
            assert (letter["tenant"], letter["job_id"], letter["topic"]) == (None, None, TOPIC)
    assert len({(letter["partition"], letter["offset"]) for letter in await letters(house, *unreadable)}) == len(
        unreadable
    )


async def test_a_message_without_a_body_is_kept_too(house: House) -> None:
    await house.worker()
    before = await letters(house, b"")
    await house.broker.publish(b"", topic=TOPIC)

    async def one_more() -> bool:
        return len(await letters(house, b"")) > len(before)

    await until(one_more, "its letter")


async def test_a_flood_of_garbage_holds_nobody_up_for_long(house: House) -> None:
    await house.worker()
    flood = [f"{uuid4().hex} {n}".encode() for n in range(2_000)]
    await house.broker.publish_batch(*flood, topic=TOPIC)
    rows = await house.until(await house.submit(20))
    assert {(row["state"], row["epoch"]) for row in rows} == {("succeeded", 1)}
    assert len(await kept(house, *flood)) == len(flood)


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that a test may stop."""
    with TemporaryDirectory(prefix="welip-postgres-") as folder:
        server = EmbeddedPostgres(Path(folder, "data"))
        yield server
        server.stop()


@pytest.fixture
async def own_house(trial: None, own_server: EmbeddedPostgres, kafka: KafkaSettings) -> AsyncIterator[House]:
    url = await asyncio.to_thread(own_server.start)
    await migrate(url)
    settings = PostgresSettings.model_validate({"url": url})
    database = Database(settings, application="test")
    await database.open()
    try:
        async with House(database, settings, kafka) as made:
            yield made
    finally:
        await database.close()


@pytest.mark.parametrize("replaced", [False, True], ids=["waits", "replaced"])
async def test_while_postgres_is_away_the_offset_is_not_committed(
    own_house: House, own_server: EmbeddedPostgres, kafka: KafkaSettings, replaced: bool
) -> None:
    house = own_house
    if not kafka.embedded:
        await ensure_topics(kafka, {TOPIC: GROUP})
    worker = await house.worker()
    first = f"first {uuid4().hex}".encode()
    await house.broker.publish(first, topic=TOPIC)
    await kept(house, first)

    async def at_rest() -> bool:
        return sum((await committed(kafka)).values()) > 0

    await until(at_rest, "a committed offset")
    await asyncio.to_thread(own_server.stop)
    garbage = f"second {uuid4().hex}".encode()
    with capture_logs() as logged:
        sent = await house.broker.publish(garbage, topic=TOPIC)
        place = TopicPartition(sent.topic, sent.partition)

        async def tried_often() -> bool:
            return len([line for line in logged if line["event"] == "dead.away"]) > 4

        await until(tried_often, "five tries")
    assert (await committed(kafka))[place.partition] <= sent.offset
    if replaced:
        await worker.stop()
    await asyncio.to_thread(own_server.start)
    if replaced:
        await house.worker()
    rows = await house.until(await house.submit(10))
    assert {row["state"] for row in rows} == {"succeeded"}
    [letter] = await kept(house, garbage)
    assert (letter["topic"], letter["partition"], letter["offset"]) == (TOPIC, sent.partition, sent.offset)

    async def passed() -> bool:
        return (await committed(kafka))[place.partition] > sent.offset

    await until(passed, "the committed offset")
    assert len(await letters(house, garbage)) == 1
