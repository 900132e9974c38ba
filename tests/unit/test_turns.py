"""Whose turn it is with the analyser: earlier parts first, two at once, and no turn is ever lost."""

import asyncio
from threading import Event

import pytest

from consumers.stages.indexing.turns import AT_ONCE, Turns


class Works:
    """Work that blocks until it is let go, and notes in which order it was begun."""

    def __init__(self) -> None:
        self.turns = Turns("test-turns")
        self.begun: list[str] = []
        self._gates: dict[str, Event] = {}

    def start(self, name: str, ticket: int) -> asyncio.Task[str]:
        self._gates[name] = Event()
        return asyncio.create_task(self.turns.run(ticket, self._work, name))

    def _work(self, name: str) -> str:
        self.begun.append(name)
        assert self._gates[name].wait(10)
        return name

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.begun) < count:
                await asyncio.sleep(0)

    def let_go(self, *names: str) -> None:
        for name in names:
            self._gates[name].set()


async def busy(works: Works) -> list[asyncio.Task[str]]:
    """Every turn is taken."""
    tasks = [works.start(f"first{n}", works.turns.ticket()) for n in range(AT_ONCE)]
    await works.until_begun(AT_ONCE)
    return tasks


async def test_the_part_that_began_first_goes_first() -> None:
    works = Works()
    early, late = works.turns.ticket(), works.turns.ticket()
    tasks = await busy(works)
    tasks += [works.start(name, ticket) for name, ticket in (("late", late), ("early", early), ("early again", early))]
    await asyncio.sleep(0)
    assert len(works.begun) == AT_ONCE
    for done in ("first0", "first1", "early", "early again", "late"):
        works.let_go(done)
        await works.until_begun(min(len(tasks), works.begun.index(done) + AT_ONCE + 1))
    assert works.begun[AT_ONCE:] == ["early", "early again", "late"]
    assert await asyncio.gather(*tasks) == ["first0", "first1", "late", "early", "early again"]


async def test_a_turn_of_one_that_was_cancelled_goes_to_the_next() -> None:
    works = Works()
    tasks = await busy(works)
    given_up, waiting = (works.start(name, works.turns.ticket()) for name in ("given up", "waiting"))
    await asyncio.sleep(0)
    given_up.cancel()
    works.let_go("first0", "first1", "waiting")
    async with asyncio.timeout(10):
        assert await waiting == "waiting"
        await asyncio.gather(*tasks)
    assert "given up" not in works.begun
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_a_turn_that_was_given_in_the_moment_of_the_cancellation_is_passed_on() -> None:
    works = Works()
    tasks = await busy(works)
    waiting = works.start("waiting", works.turns.ticket())
    await asyncio.sleep(0)
    works.let_go("first0")
    async with asyncio.timeout(10):
        await tasks[0]  # its turn is `waiting`'s now, which has not run since
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        after = works.start("after", works.turns.ticket())
        works.let_go("after", "first1")
        assert await after == "after"
        await tasks[1]


async def test_work_that_fails_passes_its_turn_on() -> None:
    turns = Turns("test-turns")
    for _ in range(2 * AT_ONCE):
        with pytest.raises(ZeroDivisionError):
            await turns.run(turns.ticket(), lambda: 1 // 0)
    assert await turns.run(turns.ticket(), str, 1) == "1"
