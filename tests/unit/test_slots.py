"""Slots bound what runs at once, and whoever waits goes on when one is given back."""

import asyncio

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
