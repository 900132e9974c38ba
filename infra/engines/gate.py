"""How many requests a server is sent at a time: as many as it lately took, interactive ones first.

Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain, 1989): each refusal halves the number, and as
many requests as it allows have to be taken before it grows by one. Where the server had taken that many for a while, so
that the refusal is most likely a chance, it falls less and comes back to most of it at once, as CUBIC does (RFC 9438).
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import structlog

from schemas.topics import Lane

log = structlog.get_logger(__name__)

PROVEN_ROUNDS: Final = 2
"""So many times the limit have to be taken without a refusal before it counts as what the server can take."""
PROVEN_LEFT: Final = 0.7
"""Such a limit falls to this share of it: CUBIC's factor."""
PROVEN_SHARE: Final = 0.95
"""Up to this share of it the limit grows by one with each request that is taken."""
BULK_EVERY: Final = 4
"""Of so many requests that are let through while both lanes wait, one is a bulk one: neither starves."""


class Turn:
    """A request under way, which says how it went."""

    def __init__(self, gate: "Gate", round: int) -> None:
        self._gate = gate
        self._round = round

    def taken(self) -> None:
        """The server took it."""
        self._gate.grow()

    def refused(self, retry_after: timedelta | None) -> None:
        """The server has no capacity. Of requests that were under way together, one refusal counts."""
        self._gate.shrink(self._round, retry_after)


class Gate:
    """Lets at most `most` requests through at a time, and fewer while the server refuses some, if it `adapts`.

    For one event loop. `name`: of the model, for the log.
    """

    def __init__(self, name: str, most: int | None = None, *, adapts: bool = False) -> None:
        self._name = name
        self._most = math.inf if most is None else most
        self._limit = self._most
        self._adapts = adapts
        self._running = 0
        self._round = 0
        self._taken = 0
        self._proven = 0.0
        self._admitted = 0
        self._closed_until = 0.0
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}

    @property
    def limit(self) -> float:
        """How many may be under way now; infinite while nothing limits them."""
        return self._limit

    @asynccontextmanager
    async def turn(self, lane: Lane) -> AsyncIterator[Turn]:
        """Wait for a place, and hold it."""
        await self._enter(lane)
        try:
            yield Turn(self, self._round)
        finally:
            self._leave()

    def grow(self) -> None:
        """A request was taken."""
        self._taken += 1
        if self._adapts and self._limit < self._most:
            step = 1.0 if self._limit < PROVEN_SHARE * self._proven else 1 / self._limit
            self._limit = min(self._most, self._limit + step)
            self._admit()

    def shrink(self, round: int, retry_after: timedelta | None) -> None:
        """A request of this round was refused; none goes before `retry_after`."""
        if not self._adapts:
            return
        if round == self._round:
            self._round += 1
            held = min(self._limit, self._running)
            self._proven = held if self._taken >= PROVEN_ROUNDS * held else 0.0
            self._taken = 0
            self._limit = max(1.0, held * (PROVEN_LEFT if self._proven else 0.5))
            log.info("engine.slowed", model=self._name, at_once=int(self._limit))
        if retry_after:
            loop = asyncio.get_running_loop()
            self._closed_until = max(self._closed_until, loop.time() + retry_after.total_seconds())
            loop.call_at(self._closed_until, self._reopen, self._closed_until)

    def _reopen(self, time: float) -> None:
        # asyncio may call a tick early: then the clock alone would keep the gate closed for ever.
        if time == self._closed_until:
            self._closed_until = 0.0
            self._admit()

    async def _enter(self, lane: Lane) -> None:
        if not any(self._waiting.values()) and self._has_room():
            self._running += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()  # its turn came in the same moment
            elif place in self._waiting[lane]:
                self._waiting[lane].remove(place)
            raise

    def _leave(self) -> None:
        self._running -= 1
        self._admit()

    def _has_room(self) -> bool:
        return self._running + 1 <= self._limit and asyncio.get_running_loop().time() >= self._closed_until

    def _admit(self) -> None:
        while any(self._waiting.values()) and self._has_room():
            lanes = [Lane.INTERACTIVE, Lane.BULK]
            if self._admitted % BULK_EVERY == BULK_EVERY - 1:
                lanes.reverse()
            place = next(self._waiting[lane] for lane in lanes if self._waiting[lane]).popleft()
            if not place.done():
                place.set_result(None)
                self._running += 1
                self._admitted += 1
