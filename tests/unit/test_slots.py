"""Slots limit what runs at once, and a waiter continues when one is returned."""

import asyncio
import time

import pytest

from consumers.slots import Slots


async def test_free_slots_are_had_at_once() -> None:
    slots = Slots(3)
    assert await slots.wait() == 3
    slots.take(1)
    assert (slots.free, await slots.wait()) == (2, 2)


async def test_without_a_free_slot_one_waits_until_one_is_given_back() -> None:
    slots = Slots(2)
    slots.take(2)
    waiting = asyncio.create_task(slots.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.give(1)
    assert await waiting == 1


async def test_whoever_waits_shares_what_is_given_back() -> None:
    slots = Slots(2)
    slots.take(2)
    had: list[int] = []

    async def consumer() -> None:
        await slots.wait()
        slots.take(1)
        had.append(slots.free)

    waiting = [asyncio.create_task(consumer()) for _ in range(3)]
    await asyncio.sleep(0)
    slots.give(2)
    done, _ = await asyncio.wait(waiting, timeout=0.05)
    assert (len(done), had) == (2, [1, 0])
    slots.give(1)
    await asyncio.gather(*waiting)
    assert slots.free == 0


class Lane:
    """A consumer: waits for a slot, looks for work, and takes a slot for each piece that it finds."""

    def __init__(self, slots: Slots, taken: list[str], name: str, *, last: bool) -> None:
        self.work = 0
        self._slots, self._taken, self._name, self._last = slots, taken, name, last
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self._slots.wait(last=self._last)
            for _ in range(3):  # a poll takes a few turns of the loop
                await asyncio.sleep(0)
            if self.work:
                await self._slots.wait(last=self._last)
                self._slots.take(1)
                self._taken.append(self._name)
                self.work -= 1


async def settled() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


@pytest.mark.parametrize("bulk_first", [False, True])
async def test_lanes_that_share_slots_never_hold_more_and_interactive_goes_first(bulk_first: bool) -> None:
    slots, taken = Slots(1), list[str]()
    slots.take(1)
    names = ["bulk", "interactive"] if bulk_first else ["interactive", "bulk"]
    lanes = {name: Lane(slots, taken, name, last=name == "bulk") for name in names}
    lanes["bulk"].work = lanes["interactive"].work = 2
    for count in range(1, 5):
        await settled()
        assert len(taken) == count - 1, "one at a time"
        slots.give(1)
        await settled()
        assert len(taken) == count
    assert taken == ["interactive", "interactive", "bulk", "bulk"]
    for lane in lanes.values():
        lane.task.cancel()


async def test_a_consumer_that_ends_while_it_polls_holds_nobody_up() -> None:
    slots, taken = Slots(1), list[str]()
    slots.take(1)
    interactive = asyncio.create_task(slots.wait())
    bulk = Lane(slots, taken, "bulk", last=True)
    bulk.work = 1
    await settled()
    slots.give(1)
    interactive.cancel()
    await settled()
    assert taken == ["bulk"]
    bulk.task.cancel()


async def test_slots_follow_the_room_there_is() -> None:
    room = 2
    slots = Slots(lambda: room)
    assert await slots.wait() == 2
    slots.take(2)
    room = 1
    assert (slots.free, slots.free_since) == (0, None)
    slots.give(1)
    assert slots.free == 0
    waiting = asyncio.create_task(slots.wait())
    await settled()
    assert not waiting.done()
    # Nothing is given back, and nobody says that there is more room now.
    room, before = 4, time.monotonic()
    async with asyncio.timeout(30):
        assert await waiting == 3
    assert slots.free_since is not None
    assert slots.free_since >= before


async def test_what_is_given_back_is_had_at_once_where_the_room_changes() -> None:
    slots = Slots(lambda: 1)
    slots.take(1)
    waiting = asyncio.create_task(slots.wait())
    await settled()
    slots.give(1)
    await settled()
    assert waiting.done()


def begin(slots: Slots, kind: str, count: int) -> None:
    slots.take(count)
    for _ in range(count):
        slots.began(kind)


async def test_a_kind_that_holds_all_its_slots_leaves_the_spare_ones_to_others() -> None:
    slots = Slots(4, spare=1)
    begin(slots, "indexing", 4)
    assert (slots.free, slots.room_for("indexing"), slots.room_for("noop")) == (1, 0, 4)
    begin(slots, "noop", 1)
    waiting = asyncio.create_task(slots.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.ended("noop")
    assert await waiting == 1
    slots.ended("indexing")
    assert slots.room_for("indexing") == 1


async def test_without_spare_slots_any_kind_may_take_them_all() -> None:
    slots = Slots(4)
    begin(slots, "indexing", 3)
    assert slots.room_for("indexing") == slots.room_for("noop") == 1


async def test_a_change_is_waited_for_no_longer_than_said() -> None:
    slots = Slots(1, spare=1)
    begin(slots, "noop", 1)
    assert not await slots.changed(0.01)
    waiting = asyncio.create_task(slots.changed(60))
    await asyncio.sleep(0)
    slots.ended("noop")
    assert await waiting


async def test_half_of_them_are_waited_for() -> None:
    slots = Slots(8, spare=2)
    async with asyncio.timeout(30):
        await slots.half(3_600)
    slots.take(8)
    waiting = asyncio.create_task(slots.half(60))
    await settled()
    slots.give(3)
    await settled()
    assert not waiting.done(), "three of eight are free, and two that are for other kinds"
    slots.give(1)
    await settled()
    assert waiting.done()


async def test_half_of_them_are_not_waited_for_longer_than_said() -> None:
    slots = Slots(8)
    slots.take(8)
    async with asyncio.timeout(30):
        await slots.half(0.01)
    assert slots.free == 0


async def test_a_single_slot_has_no_half() -> None:
    slots = Slots(1)
    slots.take(1)
    async with asyncio.timeout(30):
        await slots.half(3_600)
