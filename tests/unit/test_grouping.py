"""Calls share flushes and keep their order, and one that fails does not affect the others."""

import asyncio
from collections.abc import Sequence

import pytest

from infra.grouping import Grouper
from schemas.errors import DependencyUnavailable


class Flush:
    """Doubles numbers, refuses -1 and is away at -2. Waits while `gate` is closed."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.most_under_way = 0

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(items))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if -2 in items:
            raise DependencyUnavailable("away")
        if -1 in items:
            raise ValueError("refused")
        return [item * 2 for item in items]


@pytest.fixture
async def flush() -> Flush:
    return Flush()


async def test_calls_of_one_moment_travel_together_and_each_gets_its_own_answer(flush: Flush) -> None:
    grouper = Grouper(flush, limit=100)
    assert await asyncio.gather(*(grouper.call(n) for n in range(50))) == [n * 2 for n in range(50)]
    assert flush.groups == [list(range(50))]


async def test_a_lone_call_waits_for_no_timer(flush: Flush) -> None:
    call = asyncio.create_task(Grouper(flush).call(1))
    for _ in range(10):
        await asyncio.sleep(0)  # a few turns of the loop
    assert call.done()
    assert await call == 2


async def test_groups_hold_no_more_than_the_limit(flush: Flush) -> None:
    grouper = Grouper(flush, limit=20)
    await asyncio.gather(*(grouper.call(n) for n in range(50)))
    assert flush.groups == [list(range(20)), list(range(20, 40)), list(range(40, 50))]


async def test_calls_that_come_during_a_flush_share_the_next_one(flush: Flush) -> None:
    grouper = Grouper(flush)
    flush.gate.clear()
    first = asyncio.create_task(grouper.call(1))
    while not flush.groups:
        await asyncio.sleep(0)
    later = [asyncio.create_task(grouper.call(n)) for n in (2, 3)]
    await asyncio.sleep(0)
    flush.gate.set()
    assert [await first, *[await task for task in later]] == [2, 4, 6]
    assert flush.groups == [[1], [2, 3]]


@pytest.mark.parametrize("lanes", [1, 2, 3])
async def test_a_call_right_after_an_answer_is_not_forgotten(flush: Flush, lanes: int) -> None:
    grouper = Grouper(flush, lanes=lanes)

    async def caller(start: int) -> None:
        for n in range(start, start + 100):
            assert await grouper.call(n) == n * 2

    async with asyncio.timeout(10):
        await asyncio.gather(*(caller(n * 1000) for n in range(lanes)))


async def test_no_more_flushes_at_once_than_lanes(flush: Flush) -> None:
    grouper = Grouper(flush, limit=1, lanes=3)
    flush.gate.clear()
    calls = [asyncio.create_task(grouper.call(n)) for n in range(10)]
    while flush.under_way < 3:
        await asyncio.sleep(0)
    flush.gate.set()
    assert await asyncio.gather(*calls) == [n * 2 for n in range(10)]
    assert flush.most_under_way == 3


async def test_one_bad_item_does_not_spoil_its_neighbours(flush: Flush) -> None:
    grouper = Grouper(flush)
    answers = await asyncio.gather(*(grouper.call(n) for n in (1, -1, 3)), return_exceptions=True)
    assert [answers[0], answers[2]] == [2, 6]
    assert isinstance(answers[1], ValueError)
    assert flush.groups == [[1, -1, 3], [1], [-1], [3]]


async def test_a_fatal_error_goes_to_all_at_once(flush: Flush) -> None:
    grouper = Grouper(flush, fatal=(DependencyUnavailable,))
    answers = await asyncio.gather(*(grouper.call(n) for n in (1, -2, 3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DependencyUnavailable] * 3
    assert flush.groups == [[1, -2, 3]]
    assert await grouper.call(4) == 8


async def test_a_caller_that_gives_up_disturbs_nobody(flush: Flush) -> None:
    grouper = Grouper(flush)
    flush.gate.clear()
    calls = [asyncio.create_task(grouper.call(n)) for n in (1, 2, 3)]
    while not flush.groups:
        await asyncio.sleep(0)
    calls[1].cancel()
    flush.gate.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [answers[0], answers[2]] == [2, 6]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert await grouper.call(5) == 10


async def test_closing_waits_for_what_is_under_way(flush: Flush) -> None:
    grouper = Grouper(flush)
    flush.gate.clear()
    call = asyncio.create_task(grouper.call(1))
    while not flush.groups:
        await asyncio.sleep(0)
    closing = asyncio.create_task(grouper.close())
    await asyncio.sleep(0)
    assert not closing.done()
    flush.gate.set()
    await closing
    assert await call == 2
