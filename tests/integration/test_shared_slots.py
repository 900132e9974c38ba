"""A worker whose lanes share one slot runs one job at a time, and waiting interactive work goes first."""

import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.topics import Lane
from tests.integration.house import House, Worker
from tests.waiting import until

SHORT_S = 0.3


def reader(worker: Worker) -> AIOKafkaConsumer:
    """The worker's consumer of interactive work."""
    [found] = [one for wanted, one in worker.consumers._joined.items() if wanted.lane is Lane.INTERACTIVE]
    return found


async def unread(consumer: AIOKafkaConsumer) -> set[TopicPartition]:
    """The partitions that hold messages which the worker has not taken yet."""
    ends = await consumer.end_offsets([*consumer.assignment()])
    return {partition for partition, end in ends.items() if end > await consumer.position(partition)}


async def test_one_job_at_a_time_and_interactive_before_bulk(house: House, tmp_path: Path) -> None:
    worker = await house.worker(concurrency=1, shared_slots=True)
    consumer = reader(worker)

    async def nothing_of_others_is_left() -> bool:
        return not await unread(consumer)

    async def interactive_work_is_at_hand() -> bool:
        waiting = await unread(consumer)
        return bool(waiting) and waiting <= consumer._fetcher._records.keys()

    await until(nothing_of_others_is_left, "the worker has read what was there")
    lasts = tmp_path / "lasts"
    lasts.touch()
    trial = {"kind": "trial", "stage": "act"}
    [first] = await house.submit(**trial, lane="bulk", input=json.dumps({"while": str(lasts)}))
    await house.until([first], {"running"})
    short = json.dumps({"sleep_s": SHORT_S})
    bulk = await house.submit(3, **trial, lane="bulk", input=short)
    interactive = await house.submit(2, **trial, input=short)

    async def all_are_published() -> bool:
        return not await house.jobs.fetch("SELECT id FROM outbox")

    await until(all_are_published, "all are published")
    await until(interactive_work_is_at_hand, "interactive work is at hand")
    lasts.unlink()
    rows = await house.until([first, *bulk, *interactive])
    assert {row["state"] for row in rows} == {"succeeded"}
    order = sorted(rows, key=lambda row: row["started_at"])
    assert order[0]["id"] == first
    for one, following in pairwise(order[1:]):
        # The slot is free when the stage ends, a moment before that is recorded. A tenth is for the clocks.
        assert following["started_at"] >= one["started_at"] + timedelta(seconds=0.9 * SHORT_S), "two at once"
    assert {row["id"] for row in order[1:3]} == set(interactive)
