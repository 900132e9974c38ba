"""When a batch fails, the item at fault is found; an engine that is down is not blamed on an item."""

from collections.abc import Sequence

import pytest

from infra.engines.blame import blames_an_item, each
from schemas.errors import (
    Conflict,
    DependencyUnavailable,
    EngineClosed,
    EngineFailed,
    EngineOverloaded,
    EngineRefused,
    EngineReplyBroken,
    EngineTrouble,
    JobError,
)


class Engine:
    """Doubles numbers, refuses a batch with a bad one, and counts its calls."""

    def __init__(self, error: Exception, bad: set[int], *, down: bool = False) -> None:
        self.error = error
        self.bad = bad
        self.down = down
        self.asked = 0

    async def run(self, items: Sequence[int]) -> list[int]:
        self.asked += 1
        if self.down or self.bad & set(items):
            raise self.error
        return [2 * item for item in items]


BLAMING = [
    EngineRefused("too long"),
    EngineFailed("500"),
    EngineReplyBroken("no numbers"),
    JobError("zeros", code="embedding_invalid"),
    ValueError("a model here"),
]


@pytest.mark.parametrize("error", BLAMING, ids=repr)
@pytest.mark.parametrize("bad", [{0}, {63}, {7, 8}, {1, 20, 40, 63}, set(range(0, 64, 2))], ids=str)
async def test_the_items_at_fault_are_found_and_the_others_done(error: Exception, bad: set[int]) -> None:
    found = await each(Engine(error, bad).run, list(range(64)), probe=1000)
    assert {at for at, answer in enumerate(found) if isinstance(answer, Exception)} == bad
    assert [answer for answer in found if not isinstance(answer, Exception)] == [
        2 * item for item in range(64) if item not in bad
    ]


@pytest.mark.parametrize("error", BLAMING, ids=repr)
async def test_one_item_alone_can_be_at_fault(error: Exception) -> None:
    [found] = await each(Engine(error, {5}).run, [5], probe=1000)
    assert isinstance(found, Exception)
    assert not isinstance(found, DependencyUnavailable), "the engine takes others, so it is not away"


async def test_finding_one_of_five_hundred_takes_few_requests() -> None:
    engine = Engine(EngineRefused("too long"), {271})
    await each(engine.run, list(range(512)), probe=1000)
    assert engine.asked <= 2 * 9 + 1


@pytest.mark.parametrize("error", [EngineFailed("500"), EngineReplyBroken("loading")], ids=repr)
async def test_an_engine_that_is_down_blames_nobody_and_is_not_asked_for_each(error: Exception) -> None:
    engine = Engine(error, set(), down=True)
    found = await each(engine.run, list(range(64)), probe=1000)
    assert {str(one) for one in found} == {str(error)}
    assert not any(isinstance(one, Exception) and blames_an_item(one) for one in found)
    assert engine.asked == 2


@pytest.mark.parametrize(
    "error",
    [
        DependencyUnavailable("no connection"),
        EngineOverloaded("429"),
        EngineClosed("401"),
        EngineTrouble("no quota"),
        Conflict("vectors of another length"),
    ],
    ids=repr,
)
async def test_what_blames_no_item_goes_to_all_at_once(error: Exception) -> None:
    engine = Engine(error, {3})
    assert await each(engine.run, list(range(64)), probe=1000) == [error] * 64
    assert engine.asked == 1


async def test_an_answer_of_another_length_is_no_answer() -> None:
    async def run(items: Sequence[int]) -> list[int]:
        return [1] * (len(items) - 1)

    assert all(isinstance(answer, ValueError) for answer in await each(run, [1, 2, 3]))


async def test_nothing_asked_is_nothing_run() -> None:
    engine = Engine(ValueError(), set())
    assert (await each(engine.run, []), engine.asked) == ([], 0)
