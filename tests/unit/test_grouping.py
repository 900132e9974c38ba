"""Calls are grouped by what is under way, not by a timer."""

import asyncio
from collections.abc import Sequence

import pytest

from infra.grouping import Grouper


class Away(Exception):
    """The whole outside system does not answer."""


class Flushes:
    """Records groups; each flush waits until it is let go."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = asyncio.Event()
        self.begun = asyncio.Semaphore(0)

    async def __call__(self, group: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(group))
        self.begun.release()
        await self.go.wait()
        return [item * 10 for item in group]


async def test_a_lone_call_goes_out_at_once() -> None:
    flushes = Flushes()
    flushes.go.set()
    grouper = Grouper(flushes)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    assert await grouper.call(1) == 10
    counting.cancel()
    assert turns < 10, "a few turns of the loop, no timer"
    assert flushes.groups == [[1]]


async def test_calls_that_come_meanwhile_share_the_next_flush() -> None:
    flushes = Flushes()
    grouper = Grouper(flushes)
    first = asyncio.create_task(grouper.call(0))
    await flushes.begun.acquire()
    rest = [asyncio.create_task(grouper.call(n)) for n in range(1, 6)]
    await asyncio.sleep(0)
    flushes.go.set()
    assert await asyncio.gather(first, *rest) == [0, 10, 20, 30, 40, 50]
    assert flushes.groups == [[0], [1, 2, 3, 4, 5]]


async def test_a_group_has_a_limit() -> None:
    flushes = Flushes()
    flushes.go.set()
    grouper = Grouper(flushes, limit=3)
    assert await asyncio.gather(*(grouper.call(n) for n in range(7))) == [n * 10 for n in range(7)]
    assert [len(group) for group in flushes.groups] == [3, 3, 1]


async def test_one_bad_member_does_not_spoil_its_neighbours() -> None:
    async def flush(group: Sequence[int]) -> Sequence[int]:
        if 2 in group:
            raise ValueError("two")
        return list(group)

    grouper = Grouper(flush)
    answers = await asyncio.gather(*(grouper.call(n) for n in range(4)), return_exceptions=True)
    assert [a for a in answers if not isinstance(a, ValueError)] == [0, 1, 3]
    assert isinstance(answers[2], ValueError)


async def test_when_the_whole_system_is_away_every_member_hears_so_at_once() -> None:
    calls = 0

    async def flush(group: Sequence[int]) -> Sequence[int]:
        nonlocal calls
        calls += 1
        raise Away

    grouper = Grouper(flush, fatal=(Away,))
    answers = await asyncio.gather(*(grouper.call(n) for n in range(4)), return_exceptions=True)
    assert all(isinstance(a, Away) for a in answers)
    assert calls == 1
    with pytest.raises(Away):
        await grouper.call(9)
