"""5. Every message is delivered three times, late and out of order."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.topics import Lane, topic_name
from tests.faults.grounds import Grounds
from tests.faults.probe import KIND
from tests.faults.verdict import Verdict, judge

NAME: Final = "every message delivered three times and out of order"
BOUND_S: Final = 30.0
AGAIN: Final = "again"
LATE_S: Final = 3.0
TOPICS: Final = [topic_name(KIND, stage, Lane.INTERACTIVE) for stage in ("act", "end")]


async def run(grounds: Grounds, quick: bool) -> Verdict:
    jobs = 40 if quick else 400
    async with await grounds.site("thrice") as site:
        await site.hire(2)
        repeated: list[int] = []
        async with _repeating(site.kafka, repeated):
            for _ in range(jobs // 20):
                await asyncio.gather(*(site.load.submit(**_input()) for _ in range(20)))
                await asyncio.sleep(0.5)
            await asyncio.sleep(LATE_S)
            verdict = await judge(site, healed_at=time.time(), bound_s=BOUND_S)
        [(most,)] = await site.fetch("SELECT max(epoch) FROM job")
        verdict.check(most == 2, f"a job of two stages was claimed {most} times")
        verdict.check(len(repeated) >= 2 * jobs, f"only {len(repeated)} messages were repeated")
        verdict.notes.append(f"{len(repeated)} repeated messages, none of which ran a stage again")
        return verdict


def _input() -> dict[str, Any]:
    return {"seconds": random.uniform(0, 0.5), "two_stages": random.random() < 0.5}


@asynccontextmanager
async def _repeating(kafka: str, repeated: list[int]) -> AsyncIterator[None]:
    """Publish each message twice more, at moments that have nothing to do with its place."""
    consumer = AIOKafkaConsumer(*TOPICS, bootstrap_servers=kafka, auto_offset_reset="latest")
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await consumer.start()
    for partition in consumer.assignment():
        await consumer.position(partition)  # from now on nothing is missed
    await producer.start()

    async def publish(topic: str, value: bytes) -> None:
        await asyncio.sleep(random.uniform(0, LATE_S))
        await producer.send_and_wait(topic, value, headers=[(AGAIN, b"")])
        repeated.append(1)

    async def listen() -> None:
        async with asyncio.TaskGroup() as late:
            async for record in consumer:
                if all(name != AGAIN for name, _ in record.headers):
                    for _ in range(2):
                        late.create_task(publish(record.topic, record.value))

    listening = asyncio.create_task(listen())
    try:
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await consumer.stop()
        await producer.stop()
