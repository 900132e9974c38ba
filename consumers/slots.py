"""How many stages may run at once. A lane has its own slots by default, so bulk work never takes an interactive one."""

import asyncio
import time
from typing import Any


class Slots:
    """A counter that can be waited for. Not thread-safe: for one event loop.

    Where lanes share one counter, bulk waits with `last`. A slot that comes free goes to it when those who were waiting
    without `last` have looked for work, so interactive work that waits is always taken first.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._free_since = time.monotonic()
        self._changed = asyncio.Event()
        self._blocked: set[asyncio.Task[Any] | None] = set()
        """Who waits without `last`."""
        self._looking: set[asyncio.Task[Any] | None] = set()
        """Those of them who were told of a free slot, and look for work until they wait once more."""

    @property
    def free(self) -> int:
        """Free slots."""
        return self._free

    @property
    def free_since(self) -> float | None:
        """Since when, on the monotonic clock, a slot has been free without a break; None when none is free."""
        return self._free_since if self._free > 0 else None

    async def wait(self, *, last: bool = False) -> int:
        """Until at least one is free, and for `last` until nobody goes before; how many are."""
        waiter = asyncio.current_task()
        self._looked(waiter)
        try:
            while self._free <= 0 or (last and self._looking):
                if not last:
                    self._blocked.add(waiter)
                self._changed.clear()
                await self._changed.wait()
        except asyncio.CancelledError:
            self._blocked.discard(waiter)
            self._looked(waiter)
            raise
        return self._free

    def take(self, count: int) -> None:
        """Take some, right after `wait` and without an await in between, so that nobody else takes them."""
        self._free -= count

    def give(self, count: int) -> None:
        """Give some back."""
        if self._free <= 0:
            self._free_since = time.monotonic()
        self._free += count
        if self._free > 0:
            self._looking |= self._blocked
            self._blocked.clear()
        self._changed.set()

    def _looked(self, waiter: asyncio.Task[Any] | None) -> None:
        if waiter in self._looking:
            self._looking.discard(waiter)
            self._changed.set()
