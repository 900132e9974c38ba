"""Requests to one engine wait here until its limits let them through; what a server refuses for lack of capacity is
repeated for a few seconds.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiolimiter import AsyncLimiter

from infra.engines.gate import Gate
from infra.engines.pace import TokenPace
from schemas.errors import EngineOverloaded
from schemas.models import Limits
from schemas.topics import Lane

PATIENCE_S: Final = 8.0
"""How long a request waits here, in all, for a server without capacity."""
FIRST_WAIT_S: Final = 0.5
"""Where the server does not say; doubled each time, of which a random part is waited."""
BYTES_A_TOKEN: Final = 3
"""Where the server does not count: a syllable of Hangul, three letters of English."""


class Admission:
    """The limits of one model, shared by all its requests. `adapts`: for a server elsewhere, which may refuse some."""

    def __init__(self, model: str, limits: Limits, *, adapts: bool) -> None:
        self._adapts = adapts
        self.gate = Gate(model, limits.at_once, adapts=adapts)
        # The limiter lets `max_rate` through at once and refills evenly. One a minute at least, with a longer period:
        # a rate below 1 would never let anything through.
        rate = limits.requests_per_minute
        self._pace = None if rate is None else AsyncLimiter(max(rate, 1), 60 if rate >= 1 else 60 / rate)
        self._tokens = None if limits.tokens_per_minute is None else TokenPace(limits.tokens_per_minute)

    def request(self, lane: Lane, prompt: int) -> "Request":
        """One request with a prompt of so many bytes."""
        patience = PATIENCE_S if self._adapts else 0.0
        return Request(self.gate, self._pace, self._tokens, lane, prompt // BYTES_A_TOKEN, patience)

    async def posted(self, post: Callable[[dict[str, Any]], Awaitable[Any]], body: dict[str, Any], prompt: int) -> Any:
        """What an endpoint answers to `body`, whose texts have so many bytes. Raises what `post` raises."""
        request = self.request(Lane.INTERACTIVE, prompt)
        while True:
            async with request:
                reply = await post(body)
                request.taken(_counted(reply))
                return reply


class Request:
    """One request: each `async with` is a try, which has a place and keeps the pace.

    A refusal for lack of capacity ends in silence as long as there is patience left, in seconds; the next try waits
    first. `prompt`: tokens, estimated.
    """

    def __init__(
        self,
        gate: Gate,
        pace: AsyncLimiter | None,
        tokens: TokenPace | None,
        lane: Lane,
        prompt: int,
        patience: float,
    ) -> None:
        self._gate = gate
        self._pace = pace
        self._tokens = tokens
        self._lane = lane
        self._prompt = prompt
        self._patience = patience
        self._refusals = 0
        self._pause = 0.0
        self._place = contextlib.AsyncExitStack()
        self.begun = False
        """Whether something of the reply was shown: then it cannot be repeated."""

    async def __aenter__(self) -> None:
        if self._pause:
            await asyncio.sleep(self._pause)
        try:
            self._turn = await self._place.enter_async_context(self._gate.turn(self._lane))
            if self._pace is not None:
                await self._pace.acquire()
            if self._tokens is not None:
                await self._tokens.take(self._prompt)
        except BaseException:
            await self._place.aclose()
            raise

    def taken(self, counted: int, written: str = "") -> None:
        """The server took it, and `counted` its tokens, 0 if it does not count; it wrote this text."""
        self._turn.taken()
        if self._tokens is not None:
            guessed = len(written.encode()) // BYTES_A_TOKEN
            self._tokens.settle(counted - self._prompt if counted else guessed)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        try:
            if not isinstance(error, EngineOverloaded):
                return False
            self._turn.refused(error.retry_after)
            if self._tokens is not None:
                self._tokens.settle(-self._prompt)
            told = error.retry_after.total_seconds() if error.retry_after else 0.0
            self._pause = max(told, FIRST_WAIT_S * 2**self._refusals * random.uniform(0.5, 1))
            self._refusals += 1
            self._patience -= self._pause
            return self._patience >= 0 and not self.begun
        finally:
            await self._place.aclose()


def _counted(reply: Any) -> int:
    """The tokens of a reply that holds no text."""
    match reply:
        case {"usage": {"total_tokens": int(total)}}:
            return total
    return 0
