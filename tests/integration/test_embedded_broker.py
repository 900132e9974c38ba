"""The embedded broker's pace: aiokafka still reads the wait anew for each fetch, and the broker keeps to it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from infra.kafka.consumer import LEFT_ASIDE_S, WAITS_FOR_POLL_S, leave_aside
from infra.kafka.embedded import EmbeddedBroker, Pace

FETCHES = 5
TOPIC = "welip.noop.run.interactive"


class Fetches:
    """Records when each fetch of a consumer is sent."""

    def __init__(self, consumer: AIOKafkaConsumer, patch: pytest.MonkeyPatch) -> None:
        self._sent: asyncio.Queue[float] = asyncio.Queue()
        send = consumer._client.send

        async def noted(node: Any, request: Any, **options: Any) -> Any:
            if "Fetch" in type(request).__name__ and "Offset" not in type(request).__name__:
                self._sent.put_nowait(time.monotonic())
            return await send(node, request, **options)

        patch.setattr(consumer._client, "send", noted)

    async def pause(self) -> float:
        """The mean seconds between the next few fetches; those sent before do not count."""
        while not self._sent.empty():
            self._sent.get_nowait()
        async with asyncio.timeout(60):
            times = [await self._sent.get() for _ in range(FETCHES + 1)]
        return (times[-1] - times[0]) / FETCHES


@pytest.fixture
async def consumer(embedded_broker: EmbeddedBroker) -> AsyncIterator[AIOKafkaConsumer]:
    made = AIOKafkaConsumer(TOPIC, bootstrap_servers=embedded_broker.url, group_id="pace", fetch_max_wait_ms=20)
    await made.start()
    yield made
    await made.stop()


async def test_a_fetch_waits_as_long_as_the_pace_says(
    consumer: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetches = Fetches(consumer, monkeypatch)
    pace = Pace(consumer)
    pace.saw(1)
    busy = await fetches.pause()
    monkeypatch.setattr(Pace, "COOL_DOWN_S", 0.0)
    pace.saw(0)
    idle = await fetches.pause()
    assert busy < 0.75 * Pace.IDLE_MS / 1000
    assert idle > 0.75 * Pace.IDLE_MS / 1000


async def test_while_the_only_slot_is_taken_for_minutes_a_fetch_waits_long(
    consumer: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetches = Fetches(consumer, monkeypatch)
    pace = Pace(consumer)
    pace.saw(1)
    pace.rests()
    assert await fetches.pause() > 0.75 * Pace.IDLE_MS / 1000


async def test_while_messages_wait_for_slots_fetches_are_few(
    consumer: AIOKafkaConsumer, embedded_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(consumer)
    pace.saw(1)
    async with AIOKafkaProducer(bootstrap_servers=embedded_broker.url) as producer:
        for number in range(3):
            await producer.send_and_wait(TOPIC, f"{number}".encode(), partition=0)
    async with asyncio.timeout(60):
        while not (polled := await consumer.getmany(timeout_ms=1_000, max_records=1)):
            pass
    pace.saw(len(polled))
    assert await Fetches(consumer, monkeypatch).pause() > 0.75 * Pace.BACKLOG_MS / 1000
    pace.saw(0, left={TOPIC})  # it may not be polled now: nobody else waits for it
    assert consumer._fetcher._fetch_max_wait_ms == Pace.BUSY_MS
    left = 0
    async with asyncio.timeout(60):
        while left < 2:
            left += sum(map(len, (await consumer.getmany(timeout_ms=1_000)).values()))
    pace.saw(left)
    assert consumer._fetcher._fetch_max_wait_ms == Pace.BUSY_MS


async def test_what_may_not_be_polled_holds_up_the_fetches_of_others_only_briefly(
    consumer: AIOKafkaConsumer, embedded_broker: EmbeddedBroker
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=embedded_broker.url) as producer:
        for topics, seconds in ((set[str](), WAITS_FOR_POLL_S), ({TOPIC}, LEFT_ASIDE_S)):
            leave_aside(consumer, topics)
            await producer.send_and_wait(TOPIC, b"1", partition=0)
            async with asyncio.timeout(60):
                while not (fetched := list(consumer._fetcher._records.values())):
                    await asyncio.sleep(0.01)
            assert [one._backoff for one in fetched] == [seconds]
            assert await consumer.getmany(timeout_ms=0)
