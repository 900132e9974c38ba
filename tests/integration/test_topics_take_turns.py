"""One consumer reads all topics of a pool and lane: a flood on one topic holds up no other."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from tests.integration.house import House, Worker
from tests.waiting import until


def has_all(worker: Worker, partitions: int) -> bool:
    """Whether the worker reads every partition of its topics."""
    return all(
        len(consumer.assignment()) == partitions * len(wanted.topics)
        for wanted, consumer in worker.consumers._joined.items()
    )


async def has_read_all(worker: Worker) -> bool:
    """Whether the worker has taken everything that its topics hold."""
    for consumer in worker.consumers._joined.values():
        ends = await consumer.end_offsets([*consumer.assignment()])
        for partition, end in ends.items():
            if end > await consumer.position(partition):
                return False
    return True


async def test_a_flood_on_one_topic_does_not_hold_up_the_first_message_of_another(house: House) -> None:
    worker = await house.worker(concurrency=1)
    if not house.kafka.embedded:  # a member that a test before this one killed may hold partitions for a while
        await until(lambda: has_all(worker, house.kafka.partitions), "it reads all partitions")
    await until(lambda: has_read_all(worker), "nothing that other tests left stands before ours")
    # Much more than the other one needs, however busy the machine is; then the rest of it is let through.
    flood = await house.submit(60, kind="trial", stage="act", input='{"sleep_s": 2.0}')
    # Whichever comes first of them: they lie in several partitions.
    await until(lambda: house.jobs.fetch("SELECT id FROM job WHERE state = 'running'"), "the flood has begun")
    [other] = await house.submit()
    [row] = await house.until([other])
    await house.jobs.fetch("UPDATE job SET input = '{}' WHERE state = 'queued'")
    later = [one for one in await house.until(flood) if one["started_at"] > row["started_at"]]
    assert len(later) > 5


async def test_a_flood_of_one_kind_leaves_slots_to_the_others_and_takes_no_more_than_its_own(house: House) -> None:
    await house.worker(concurrency=4)
    flood = await house.submit(30, kind="trial", stage="act", input='{"sleep_s": 600.0}')
    assert await running(house, flood, 4) == 4
    others = await house.submit(5)
    rows = await house.until(others)
    assert {row["state"] for row in rows} == {"succeeded"}
    assert await running(house, flood, 4) == 4


async def running(house: House, flood: Sequence[UUID], at_least: int) -> int:
    """How many of them run, as soon as so many do; the others are queued."""
    async with asyncio.timeout(60):
        while True:
            states = [row["state"] for row in await house.until(flood, {"running", "queued"})]
            if states.count("running") >= at_least:
                return states.count("running")
            await asyncio.sleep(0.02)
