"""How many stages may run at once: each lane has its own slots, so bulk work never takes an interactive one."""

import asyncio
import time


class Slots:
    """A counter that can be waited for. Not thread-safe: for one event loop."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._free_since = time.monotonic()
        self._freed = asyncio.Event()
        self._freed.set()

    @property
    def free(self) -> int:
        """Slots nobody has taken."""
        return self._free

    @property
    def free_since(self) -> float | None:
        """Since when, on the monotonic clock, there was always a free one; None when there is none."""
        return self._free_since if self._free > 0 else None

    async def wait(self) -> int:
        """Until at least one is free; how many are."""
        while self._free <= 0:
            self._freed.clear()
            await self._freed.wait()
        return self._free

    def take(self, count: int) -> None:
        """Take some, right after `wait` and without an await between, so that nobody else takes them."""
        self._free -= count

    def give(self, count: int) -> None:
        """Give some back."""
        if self._free <= 0:
            self._free_since = time.monotonic()
        self._free += count
        self._freed.set()
