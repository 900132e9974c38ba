"""Decides which request an engine in this process is given next, and how many jobs a worker should hold for it."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from schemas.topics import Lane

AGES_S: Final = 10.0
"""A bulk request goes before the interactive ones that came so many seconds after it."""


def deadline(lane: Lane, now: float) -> float:
    """When a request of this lane that comes now is due; the earliest goes first. In seconds, on the clock of `now`."""
    return now + (AGES_S if lane is Lane.BULK else 0.0)


def ready(total: int) -> int:
    """How many more jobs than an engine with so many seats runs a worker should hold."""
    return max(1, total // 4)


class Seats:
    """The sequences that an engine writes at once. A request sits down before the engine gets it.

    A seat that comes free goes to the request that is due first. Bulk never takes the last `reserved` seats, and until
    it is due it waits while the engine is `full`, that is, short of memory for what it has. Interactive requests do not
    wait for that: the engine interrupts bulk for them. For one event loop.

    `queue`: an engine that keeps the reserved seats free itself and lets interactive requests overtake, such as vLLM
    with `LaneScheduler`, is given so many bulk requests more. It begins one of them in the step after a text has ended;
    from here the next would come a step later. Interactive requests wait in it, too.
    """

    def __init__(
        self,
        total: int,
        reserved: int,
        full: Callable[[], bool] = lambda: False,
        *,
        queue: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._bulk = max(1, total - reserved)
        self._queue = queue
        # Whoever waits here sits down soon after a seat comes free; a claim takes longer.
        self._ahead = ready(total)
        self._full = full
        self._clock = clock
        self._seated: Counter[Lane] = Counter()
        self._waiting: dict[Lane, deque[tuple[float, asyncio.Future[None]]]] = {lane: deque() for lane in Lane}

    @property
    def waiting(self) -> int:
        """Requests without a seat."""
        return sum(map(len, self._waiting.values()))

    def room(self, lane: Lane) -> int:
        """How many jobs of a lane the worker should hold, those it holds included: what fits, and a few that are ready.

        A full engine is given no more bulk than it has. Bulk is taken in groups, as half of those that are ready have
        sat down: a claim for each text that ends would cost the worker more than all else it does for a job.
        """
        if lane is Lane.INTERACTIVE:
            return self._total - self._seated[Lane.BULK] + self._ahead
        mine = self._seated[lane] + len(self._waiting[lane])
        if mine and self._full():
            return mine
        most = min(self._bulk, max(0, self._total - self._seated[Lane.INTERACTIVE])) + self._ahead
        return mine if most - self._ahead // 2 < mine < most else most

    @contextlib.asynccontextmanager
    async def seat(self, lane: Lane) -> AsyncIterator[float]:
        """Hold a seat while the block runs; waits for one. Gives the time at which the request is due."""
        due = deadline(lane, self._clock())
        await self._sit_down(lane, due)
        try:
            yield due
        finally:
            self._stand_up(lane)

    def look(self) -> None:
        """Give away what is free. To be called when the engine may no longer be full."""
        while (lane := self._next()) is not None:
            waiter = self._waiting[lane].popleft()[1]
            if not waiter.done():  # it was cancelled, and has not run since
                self._seated[lane] += 1
                waiter.set_result(None)

    async def _sit_down(self, lane: Lane, due: float) -> None:
        waiter = (due, asyncio.get_running_loop().create_future())
        self._waiting[lane].append(waiter)
        self.look()
        try:
            await waiter[1]
        except asyncio.CancelledError:
            if not waiter[1].cancelled():
                self._stand_up(lane)
            elif waiter in self._waiting[lane]:
                self._waiting[lane].remove(waiter)
                self.look()
            raise

    def _stand_up(self, lane: Lane) -> None:
        self._seated[lane] -= 1
        self.look()

    def _next(self) -> Lane | None:
        """Whose turn it is: of the lanes that may sit down now, the one whose first request is due first."""
        due = [
            (waiting[0][0], number, lane)
            for number, (lane, waiting) in enumerate(self._waiting.items())
            if waiting and self._may_sit(lane)
        ]
        return min(due)[2] if due else None

    def _may_sit(self, lane: Lane) -> bool:
        seated = sum(self._seated.values())
        if lane is Lane.INTERACTIVE:
            return (self._seated[lane] if self._queue else seated) < self._total
        if seated >= self._total + self._queue or self._seated[lane] >= self._bulk + self._queue:
            return False
        # An engine that is full although it writes nothing would never say otherwise. Who is overdue waits in the
        # engine, where nobody overtakes it.
        return not seated or not self._full() or self._waiting[lane][0][0] <= self._clock()
