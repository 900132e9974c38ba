"""Whose turn it is with isolated processes: what began first ends first, and no owner holds all of them."""

import asyncio

import pytest

from infra.isolation.turns import FairTurns

SIZE = 2


class Works:
    """Pieces of work that end when they are told to."""

    def __init__(self, *, slow_after: float = 60.0) -> None:
        self.turns = FairTurns(SIZE, slow_after=slow_after)
        self.begun: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._gates: dict[str, asyncio.Event] = {}

    def start(self, name: str, owner: str = "t", rank: float = 0.0) -> asyncio.Task[None]:
        self._gates[name] = asyncio.Event()
        self.tasks.append(asyncio.create_task(self._work(name, owner, rank)))
        return self.tasks[-1]

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.begun) < count:
                await asyncio.sleep(0)

    async def settled(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def let_go(self, *names: str) -> None:
        for name in names:
            self._gates[name].set()

    async def end(self) -> None:
        self.let_go(*self._gates)
        await asyncio.wait(self.tasks)

    async def _work(self, name: str, owner: str, rank: float) -> None:
        async with self.turns.turn(owner, rank):
            self.begun.append(name)
            await self._gates[name].wait()


async def busy(works: Works, owner: str = "t") -> None:
    """Take every slot."""
    for number in range(SIZE):
        works.start(f"first{number}", owner)
    await works.until_begun(SIZE)


async def test_the_part_that_began_first_goes_first() -> None:
    works = Works()
    await busy(works)
    for name, rank in (("late", 2.0), ("early", 1.0), ("early again", 1.0)):
        works.start(name, rank=rank)
    await works.settled()
    assert len(works.begun) == SIZE
    for done in ("first0", "first1", "early"):
        works.let_go(done)
        await works.until_begun(works.begun.index(done) + SIZE + 1)
    assert works.begun[SIZE:] == ["early", "early again", "late"]
    await works.end()


async def test_of_two_owners_the_one_with_less_at_work_goes_first() -> None:
    works = Works()
    await busy(works, "mallory")
    for number in range(5):
        works.start(f"mallory{number}", "mallory")
    works.start("bob", "bob", rank=1.0)
    await works.settled()
    works.let_go("first0")
    await works.until_begun(SIZE + 1)
    assert works.begun[SIZE:] == ["bob"]
    await works.end()


async def test_slow_work_gives_its_slots_up_to_others_and_not_to_its_owner() -> None:
    works = Works(slow_after=0.01)
    await busy(works, "mallory")
    works.start("mallory again", "mallory")
    for number in range(5):
        works.start(f"bob{number}", "bob")
        await works.until_begun(SIZE + number + 1)
        works.let_go(f"bob{number}")
    assert "mallory again" not in works.begun
    await works.end()
    assert "mallory again" in works.begun


async def test_no_more_than_twice_the_slots_are_at_work() -> None:
    works = Works(slow_after=0.01)
    for number in range(5 * SIZE):
        works.start(f"work{number}", f"owner{number}")
    await works.until_begun(2 * SIZE)
    await asyncio.wait(works.tasks, timeout=0.1)
    assert len(works.begun) == 2 * SIZE
    await works.end()


async def test_a_turn_of_one_that_was_cancelled_goes_to_the_next() -> None:
    works = Works()
    await busy(works)
    given_up, waiting = works.start("given up"), works.start("waiting")
    await works.settled()
    given_up.cancel()
    works.let_go("first0", "first1", "waiting")
    async with asyncio.timeout(10):
        await waiting
    assert "given up" not in works.begun
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_a_turn_that_was_given_in_the_moment_of_the_cancellation_is_passed_on() -> None:
    works = Works()
    await busy(works)
    waiting = works.start("waiting")
    await works.settled()
    works.let_go("first0")
    async with asyncio.timeout(10):
        await works.tasks[0]  # its turn now belongs to `waiting`, which has not run since
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        after = works.start("after")
        works.let_go("after", "first1")
        await after
    await works.end()


async def test_work_that_fails_passes_its_turn_on() -> None:
    turns = FairTurns(1)
    with pytest.raises(ZeroDivisionError):
        async with turns.turn("t"):
            raise ZeroDivisionError
    async with asyncio.timeout(10), turns.turn("t"):
        pass
