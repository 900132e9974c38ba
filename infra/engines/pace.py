"""How many tokens a minute a server is sent, prompts and replies together."""

import asyncio
import time
from collections.abc import Callable


class TokenPace:
    """A bucket with the tokens of a minute, refilled evenly. For one event loop.

    Nobody knows beforehand how long a reply is. So a request goes as soon as the bucket is not empty, and what it took
    is settled when it has ended: the bucket may hold less than nothing, and then the next ones wait for longer.
    """

    def __init__(self, per_minute: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = per_minute
        self._clock = clock
        self._left = per_minute
        self._at = clock()
        self._order = asyncio.Lock()

    @property
    def left(self) -> float:
        """Tokens in the bucket now."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._most / 60)
        self._at = now
        return self._left

    async def take(self, tokens: int) -> None:
        """Wait until the bucket is not empty, in the order in which requests came, and take tokens out."""
        async with self._order:
            while (left := self.left) <= 0:  # noqa: ASYNC110 - it is time that fills it
                await asyncio.sleep((1 - left) * 60 / self._most)
            self.settle(tokens)

    def settle(self, tokens: int) -> None:
        """Take out tokens that were used beyond those taken before; less than 0 puts some back."""
        self._left = self.left - tokens
