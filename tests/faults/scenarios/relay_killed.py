"""7. The relay is killed between publishing and deleting: once exactly there, and then at random moments under load."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.kafka.topics import ensure_topics
from infra.settings import KafkaSettings
from schemas.topics import Lane, group_name, topic_name
from tests.faults.gate import Gate
from tests.faults.grounds import Grounds
from tests.faults.probe import KIND, POOL
from tests.faults.site import PARTITIONS, Site, eventually
from tests.faults.verdict import Verdict, judge

NAME: Final = "the relay killed between publish and delete"
BOUND_S: Final = 45.0
JOBS: Final = 50
RATE: Final = 40.0
TOPIC: Final = topic_name(KIND, "act", Lane.INTERACTIVE)
GROUP: Final = group_name(POOL, Lane.INTERACTIVE)


async def run(grounds: Grounds, quick: bool) -> Verdict:
    verdict = await _exactly_between(grounds)
    verdict.add(await _at_random(grounds, kills=2 if quick else 20))
    return verdict


async def _exactly_between(grounds: Grounds) -> Verdict:
    """The relay's commit is held back until Kafka has the messages; then it dies."""
    async with await grounds.site("between", WELIP_GATEWAY_AGENTS="false") as site:
        await site.load.burst(JOBS)
        async with _count(site) as published, Gate(site.database) as gate:
            before = await published()
            relay = site.part("producers", WELIP_POSTGRES_URL=gate.url)
            await eventually(lambda: gate.held > 0, "the relay wants to commit")
            await _until(published, before + JOBS)
            relay.kill()
            [(left,)] = await site.fetch("SELECT count(*) FROM outbox")
            healed_at = time.time()
            site.part("producers")
            await _until(published, before + 2 * JOBS)
        await site.hire(1)
        verdict = await judge(site, healed_at=healed_at, bound_s=BOUND_S)
        verdict.check(left == JOBS, f"{left} messages of {JOBS} were left in the outbox")
        [(most,)] = await site.fetch("SELECT max(epoch) FROM job")
        verdict.check(most == 1, f"a job whose message came twice was claimed {most} times")
        verdict.notes.append(f"{JOBS} messages published, not deleted, and published again")
        return verdict


async def _at_random(grounds: Grounds, *, kills: int) -> Verdict:
    async with await grounds.site("relay", WELIP_GATEWAY_AGENTS="false") as site:
        await site.hire(1)
        async with site.load.steadily(RATE, _input):
            for _ in range(kills):
                relay = site.part("producers")
                await eventually(partial(relay.says, "relay.started"), "the relay started")
                await asyncio.sleep(random.uniform(0.05, 1))
                relay.kill()
        healed_at = time.time()
        site.part("producers")
        return await judge(site, healed_at=healed_at, bound_s=BOUND_S)


def _input() -> dict[str, Any]:
    return {"two_stages": random.random() < 0.2}


@asynccontextmanager
async def _count(site: Site) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Tells how many messages the topic has ever held."""
    settings = KafkaSettings(url=site.kafka, partitions=PARTITIONS)
    await ensure_topics(settings, {TOPIC: GROUP})
    partitions = [TopicPartition(TOPIC, n) for n in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=site.kafka)
    await consumer.start()

    async def published() -> int:
        return sum((await consumer.end_offsets(partitions)).values())

    try:
        yield published
    finally:
        await consumer.stop()


async def _until(published: Callable[[], Awaitable[int]], wanted: int) -> None:
    async with asyncio.timeout(BOUND_S):
        while await published() < wanted:
            await asyncio.sleep(0.2)
