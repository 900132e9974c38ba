"""Shares out the isolated processes of one purpose, so that no owner and no slow request can hold them all."""

import asyncio
import heapq
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

SLOW_AFTER_S: Final = 1.0
"""A request that takes longer than this continues, but gives its slot to another."""


class _Turn:
    slow = False


class FairTurns:
    """`size` slots, for one event loop.

    Among waiting requests, the owner with the fewest running ones goes first; among an owner's requests, the one with
    the lowest rank. A slow request gives up its slot and continues, so that it delays nobody; at most `size` requests
    are slow at once. An owner runs at most `size` requests, slow ones included, so an owner with only slow work gets no
    more than its share.
    """

    def __init__(self, size: int, *, slow_after: float = SLOW_AFTER_S) -> None:
        self._size = size
        self._slow_after = slow_after
        self._numbers = count()
        self._taken = 0
        self._slow = 0
        self._working: Counter[str] = Counter()
        self._waiting: dict[str, list[tuple[float, int, asyncio.Future[None]]]] = defaultdict(list)

    @asynccontextmanager
    async def turn(self, owner: str, rank: float = 0.0) -> AsyncIterator[None]:
        """Hold a slot, as soon as one is free for this owner."""
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting[owner], (rank, next(self._numbers), given))
        self._admit()
        turn = _Turn()
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                self._end(owner, turn)  # the slot was given at the same moment
            raise
        timer = self._later(turn)
        try:
            yield
        finally:
            timer[0].cancel()
            self._end(owner, turn)

    def _admit(self) -> None:
        while self._taken < self._size and (owner := self._next()) is not None:
            *_, given = heapq.heappop(self._waiting[owner])
            self._taken += 1
            self._working[owner] += 1
            given.set_result(None)

    def _next(self) -> str | None:
        for owner, waiting in list(self._waiting.items()):
            while waiting and waiting[0][2].done():
                heapq.heappop(waiting)  # the request was cancelled
            if not waiting:
                del self._waiting[owner]
        able = [owner for owner in self._waiting if self._working[owner] < self._size]
        return min(able, key=lambda owner: (self._working[owner], self._waiting[owner][0]), default=None)

    def _later(self, turn: _Turn) -> list[asyncio.TimerHandle]:
        timer: list[asyncio.TimerHandle] = []

        def slow() -> None:
            if self._slow < self._size:
                turn.slow = True
                self._slow += 1
                self._taken -= 1
                self._admit()
            else:
                timer[0] = loop.call_later(self._slow_after, slow)

        loop = asyncio.get_running_loop()
        timer.append(loop.call_later(self._slow_after, slow))
        return timer

    def _end(self, owner: str, turn: _Turn) -> None:
        if turn.slow:
            self._slow -= 1
        else:
            self._taken -= 1
        self._working[owner] -= 1
        if not self._working[owner]:
            del self._working[owner]
        self._admit()
