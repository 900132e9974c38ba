"""A worker that stops while it commits an offset waits for the answer, and leaves nothing of aiokafka's behind."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import TopicPartition

from consumers.subscriptions import Offsets
from infra.kafka.consumer import join
from infra.kafka.embedded import EmbeddedBroker
from infra.settings import KafkaSettings

TOPIC = "welip.noop.run.interactive"
FIRST = TopicPartition(TOPIC, 0)
TURNS = 50
"""Of the event loop; a cancelled task ends within a few."""


@pytest.fixture
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """What the event loop reports of tasks that begin in this test. Other tests share the loop."""
    gc.collect()
    others = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    yield told
    loop.set_exception_handler(None)
    del others  # kept until now: a task that is collected reports its exception


async def test_a_commit_under_way_ends_before_its_connection_closes(
    embedded_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, complaints: list[dict[str, Any]]
) -> None:
    kafka = KafkaSettings(url=embedded_broker.url, embedded=True)
    consumer = await join(kafka, [TOPIC], group="last-commits", client_id="test")
    asked, let_go, send = asyncio.Event(), asyncio.Event(), consumer._client.send

    async def slowly(node: Any, request: Any, **options: Any) -> Any:
        if "OffsetCommit" in type(request).__name__:
            asked.set()
            await let_go.wait()
        return await send(node, request, **options)

    monkeypatch.setattr(consumer._client, "send", slowly)
    offsets = Offsets(consumer)
    offsets.passed({FIRST: 7})
    async with asyncio.timeout(120):
        await asked.wait()
        closing = asyncio.create_task(offsets.close())
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not closing.done()
        let_go.set()
        await closing
        await consumer.stop()
    gc.collect()
    assert complaints == []
    again = await join(kafka, [TOPIC], group="last-commits", client_id="test")
    try:
        assert await again.committed(FIRST) == 7
    finally:
        await again.stop()
