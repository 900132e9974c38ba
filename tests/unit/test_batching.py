"""Many callers, full batches: few passes, answers in order, and nobody pays for another's mistake."""

import asyncio
from collections.abc import Sequence

import pytest

from infra.engines.batching import Batcher
from schemas.errors import DependencyUnavailable


class Model:
    """Doubles numbers, a batch at a time, whenever it may; remembers its input."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def run(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.open.wait()
        if -1 in items:
            raise ValueError("-1")
        if -2 in items:
            raise DependencyUnavailable("away")
        return [2 * item for item in items]

    async def busy(self, calls: int = 1) -> None:
        async with asyncio.timeout(5):
            while len(self.batches) < calls:
                await asyncio.sleep(0)


def batcher(model: Model, limit: int = 8, lanes: int = 1) -> Batcher[int, int]:
    return Batcher(model.run, limit=limit, size=abs, lanes=lanes)


async def test_callers_of_one_moment_share_passes_and_get_their_own_answers_in_order() -> None:
    model = Model()
    shared = batcher(model, limit=32)
    answers = await asyncio.gather(*(shared.call([i, 100 + i]) for i in range(40)))
    assert answers == [[2 * i, 200 + 2 * i] for i in range(40)]
    assert sorted(len(batch) for batch in model.batches) == [16, 32, 32]


async def test_one_callers_bad_item_fails_alone() -> None:
    model = Model()
    shared = batcher(model)
    good, bad, also_good = await asyncio.gather(shared.call([1, 2, 3]), shared.call([4, -1]), shared.call([5]))
    assert (good, also_good, bad[0]) == ([2, 4, 6], [10], 8)
    assert isinstance(bad[1], ValueError)


async def test_a_model_that_is_away_is_not_asked_again_for_each_item() -> None:
    model = Model()
    shared = batcher(model)
    results = await asyncio.gather(shared.call([1, 2]), shared.call([-2]))
    assert all(isinstance(result, DependencyUnavailable) for answers in results for result in answers)
    assert len(model.batches) == 1
    assert await shared.call([1]) == [2], "it goes on when the model is back"


async def test_queries_go_ahead_of_a_thousand_documents() -> None:
    model = Model()
    shared = batcher(model)
    model.open.clear()
    documents = asyncio.create_task(shared.call(list(range(1000))))
    await model.busy()
    queries = [asyncio.create_task(shared.call([5000 + i], urgent=True)) for i in range(3)]
    await asyncio.sleep(0)
    model.open.set()
    assert await asyncio.gather(*queries) == [[10000], [10002], [10004]]
    assert model.batches[1][:3] == [5000, 5001, 5002]
    assert len(model.batches[1]) == 8, "documents fill what queries leave"
    assert len(await documents) == 1000


async def test_documents_get_a_share_of_every_batch_under_a_flood_of_queries() -> None:
    model = Model()
    shared = batcher(model)
    model.open.clear()
    first = asyncio.create_task(shared.call([0]))
    await model.busy()
    flood = asyncio.create_task(shared.call(list(range(100, 140)), urgent=True))
    documents = asyncio.create_task(shared.call([1, 2, 3, 4]))
    await asyncio.sleep(0)
    model.open.set()
    await asyncio.gather(first, documents, flood)
    assert [sum(item < 100 for item in batch) for batch in model.batches[1:]] == [2, 2, 0, 0, 0, 0]


async def test_a_batch_holds_items_of_like_size_and_the_one_that_waited_longest() -> None:
    model = Model()
    shared = batcher(model, limit=4)
    model.open.clear()
    first = asyncio.create_task(shared.call([1]))
    await model.busy()
    rest = asyncio.create_task(shared.call([900, 10, 11, 901, 12, 902, 13, 903]))
    await asyncio.sleep(0)
    model.open.set()
    await asyncio.gather(first, rest)
    assert [sorted(batch) for batch in model.batches[1:]] == [[900, 901, 902, 903], [10, 11, 12, 13]]


async def test_what_a_cancelled_caller_wanted_is_not_computed() -> None:
    model = Model()
    shared = batcher(model, limit=2)
    model.open.clear()
    running = asyncio.create_task(shared.call([1]))
    await model.busy()
    gone = asyncio.create_task(shared.call([7] * 50))
    stays = asyncio.create_task(shared.call([3]))
    await asyncio.sleep(0)
    gone.cancel()
    model.open.set()
    assert await asyncio.gather(running, stays) == [[2], [6]]
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert [7, 7] not in model.batches


async def test_a_caller_that_goes_while_its_batch_runs_disturbs_nobody() -> None:
    model = Model()
    shared = batcher(model)
    model.open.clear()
    gone, stays = asyncio.create_task(shared.call([1])), asyncio.create_task(shared.call([2]))
    await model.busy()
    gone.cancel()
    model.open.set()
    assert await stays == [4]
    assert model.batches == [[1, 2]]


async def test_lanes_are_so_many_batches_at_once() -> None:
    model = Model()
    shared = batcher(model, limit=1, lanes=3)
    model.open.clear()
    call = asyncio.create_task(shared.call([1, 2, 3, 4, 5]))
    await model.busy(3)
    await asyncio.sleep(0)
    assert len(model.batches) == 3
    model.open.set()
    assert await call == [2, 4, 6, 8, 10]


async def test_what_comes_while_a_lane_is_free_waits_for_no_other_lane() -> None:
    model = Model()
    shared = batcher(model, lanes=2)
    model.open.clear()
    document = asyncio.create_task(shared.call([1]))
    await model.busy()
    question = asyncio.create_task(shared.call([2], urgent=True))
    await model.busy(2)
    model.open.set()
    assert await asyncio.gather(document, question) == [[2], [4]]


async def test_nothing_asked_is_nothing_run() -> None:
    model = Model()
    assert await batcher(model).call([]) == []
    assert model.batches == []
