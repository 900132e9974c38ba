"""Whose turn it is with the analyser: parts that began earlier go first, so that they end one after the other."""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Final, TypeVar, TypeVarTuple

from schemas.topics import Lane

T = TypeVar("T")
A = TypeVarTuple("A")

AT_ONCE: Final = 2
"""One call of the analyser takes all cores; a second one stands ready for when the first one ends."""


class Turns:
    """Runs blocking work in a few threads of its own, what came with a lower ticket first. Of one event loop at a time.

    Parts that took turns by the call would all end at the same moment, and then wait together for the index. And work
    that waits here holds none of the threads that questions and blobs are served by.
    """

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=name)
        self._tickets = count()
        self._free = AT_ONCE
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def ticket(self) -> int:
        """The next one: higher than all before."""
        return next(self._tickets)

    async def run(self, ticket: int, work: Callable[[*A], T], *arguments: *A) -> T:
        """What `work` returns or raises, once it has had its turn."""
        await self._turn(ticket)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._pass_on()

    async def _turn(self, ticket: int) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (ticket, self.ticket(), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it was given in the same moment
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


ANALYSTS: Final[Mapping[Lane, Turns]] = {lane: Turns(f"welip-analyse-{lane}") for lane in Lane}
"""A lane each, so that a bulk corpus is nothing that interactive work waits behind."""
