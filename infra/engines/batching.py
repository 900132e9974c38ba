"""Many jobs, full batches: what jobs want of a model at the same moment goes through it together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from infra.engines.blame import Run, each
from infra.grouping import Drain
from infra.metrics import MODEL_BATCH

T = TypeVar("T")
R = TypeVar("R")


def in_thread(run: Callable[[Sequence[T]], Sequence[R]], thread: Executor) -> Run[T, R]:
    """A blocking model as a coroutine."""

    async def threaded(items: Sequence[T]) -> Sequence[R]:
        return await asyncio.get_running_loop().run_in_executor(thread, run, items)

    return threaded


@dataclass(slots=True, eq=False)
class _Wanted(Generic[T, R]):
    item: T
    size: int
    answer: asyncio.Future[R | Exception]


class Batcher(Generic[T, R]):
    """Hands items to `run` in batches of at most `limit`, `lanes` batches at a time. `model` names it in metrics.

    Urgent items go first, yet leave a quarter of a batch to the others, so that neither starves. The others are grouped
    by size, because a batch costs as much as its longest item, and the one that waited longest is always included. When
    a batch fails, the item at fault is found (`each`, with `probe`), so one caller never spoils another's work. Items
    whose caller has gone are not computed.
    """

    def __init__(
        self,
        run: Run[T, R],
        *,
        limit: int,
        size: Callable[[T], int],
        lanes: int = 1,
        model: str = "model",
        probe: T | None = None,
    ) -> None:
        self._run = run
        self._probe = probe
        self._limit = limit
        self._size = size
        self._batch_items = MODEL_BATCH.labels(model)
        self._urgent: list[_Wanted[T, R]] = []
        self._patient: list[_Wanted[T, R]] = []
        self._drain = Drain(self._send_next, lanes=lanes)

    async def call(self, items: Sequence[T], *, urgent: bool = False) -> list[R | Exception]:
        """The answers to `items`, in their order; one that the model cannot take has its error in place."""
        loop = asyncio.get_running_loop()
        wanted: list[_Wanted[T, R]] = [_Wanted(item, self._size(item), loop.create_future()) for item in items]
        (self._urgent if urgent else self._patient).extend(wanted)
        self._drain.start(-(-len(wanted) // self._limit))
        try:
            return [await one.answer for one in wanted]
        finally:
            for one in wanted:
                one.answer.cancel()

    async def _send_next(self) -> bool:
        batch = self._next()
        if batch:
            await self._send(batch)
        return bool(batch)

    def _next(self) -> list[_Wanted[T, R]]:
        urgent = [one for one in self._urgent if not one.answer.done()]
        patient = [one for one in self._patient if not one.answer.done()]
        first = urgent[: self._limit - min(self._limit // 4, len(patient))]
        self._urgent = urgent[len(first) :]
        others = _alike(patient, self._limit - len(first))
        taken = {id(one) for one in others}
        self._patient = [one for one in patient if id(one) not in taken]
        return first + others

    async def _send(self, batch: list[_Wanted[T, R]]) -> None:
        answers = await each(self._run, [one.item for one in batch], probe=self._probe)
        self._batch_items.observe(len(batch))
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)


def _alike(waiting: list[_Wanted[T, R]], room: int) -> list[_Wanted[T, R]]:
    """At most `room` of those that wait: the oldest, and others whose sizes lie closest together."""
    if len(waiting) <= room or not room:
        return waiting[:room]
    by_size = sorted(waiting, key=lambda one: one.size)
    oldest = by_size.index(waiting[0])
    starts = range(max(0, oldest - room + 1), min(oldest, len(by_size) - room) + 1)
    start = min(starts, key=lambda at: by_size[at + room - 1].size - by_size[at].size)
    return by_size[start : start + room]
