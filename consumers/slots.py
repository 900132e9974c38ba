"""How many stages may run at once. A lane has its own slots by default, so bulk work never takes an interactive one."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

LOOKS_EVERY_S: Final = 0.05
"""How often a size that changes is asked for while nothing is free."""


class Slots:
    """A counter that can be waited for. Not thread-safe: for one event loop.

    `size`: a number, or what says how many there are now, such as the room in an engine.

    `spare`: so many more are for kinds of work that do not hold `size` of them already (`room_for`). So no flood of one
    kind, of whatever tenant, keeps the others out.

    Where lanes share one counter, bulk waits with `last`. A slot that comes free goes to it when those who were waiting
    without `last` have looked for work, so interactive work that waits is always taken first.
    """

    def __init__(self, size: int | Callable[[], int], *, spare: int = 0) -> None:
        self._size = size
        self._spare = spare
        self._taken = 0
        self._of_kind: Counter[str] = Counter()
        self._free_since = time.monotonic()
        self._changed = asyncio.Event()
        self._half_free = asyncio.Event()
        self._blocked: set[asyncio.Task[Any] | None] = set()
        """Who waits without `last`."""
        self._looking: set[asyncio.Task[Any] | None] = set()
        """Those of them who were told of a free slot, and look for work until they wait once more."""

    @property
    def size(self) -> int:
        """How many there are now for one kind."""
        return self._size if isinstance(self._size, int) else self._size()

    @property
    def free(self) -> int:
        """Free slots; none is free while more are taken than there are now."""
        return max(0, self.size + self._spare - self._taken)

    @property
    def free_since(self) -> float | None:
        """Since when, on the monotonic clock, a slot has been free without a break; None when none is free."""
        return self._free_since if self.free else None

    async def wait(self, *, last: bool = False) -> int:
        """Until at least one is free, and for `last` until nobody goes before; how many are."""
        waiter = asyncio.current_task()
        self._looked(waiter)
        try:
            while not self.free or (last and self._looking):
                if not last:
                    self._blocked.add(waiter)
                await self._change()
        except asyncio.CancelledError:
            self._blocked.discard(waiter)
            self._looked(waiter)
            raise
        return self.free

    async def half(self, within_s: float) -> None:
        """Wait until half of them are free, but not longer than so long."""
        if not self._is_half_free():
            self._half_free.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._half_free.wait()

    def room_for(self, kind: str) -> int:
        """How many more this kind may take, as far as slots are free."""
        return max(0, self.size - self._of_kind[kind]) if self._spare else self.free

    def began(self, kind: str) -> None:
        """A taken slot is used for this kind."""
        self._of_kind[kind] += 1

    def ended(self, kind: str) -> None:
        """Give back the slot of a stage of this kind."""
        self._of_kind[kind] -= 1
        self.give(1)

    async def changed(self, within_s: float) -> bool:
        """Wait until a slot is given back; false when none was for so long."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await self._changed.wait()
        return False

    def take(self, count: int) -> None:
        """Take some, right after `wait` and without an await in between, so that nobody else takes them."""
        self._taken += count

    def give(self, count: int) -> None:
        """Give some back."""
        if not self.free:
            self._free_since = time.monotonic()
        self._taken -= count
        if self.free:
            self._looking |= self._blocked
            self._blocked.clear()
        self._changed.set()
        if not self._half_free.is_set() and self._is_half_free():
            self._half_free.set()

    def _is_half_free(self) -> bool:
        return self._taken <= (self.size + 1) // 2

    async def _change(self) -> None:
        self._changed.clear()
        if isinstance(self._size, int):
            await self._changed.wait()
            return
        full = not self.free
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOKS_EVERY_S):
                await self._changed.wait()
        if full and self.free:
            self._free_since = time.monotonic()

    def _looked(self, waiter: asyncio.Task[Any] | None) -> None:
        if waiter in self._looking:
            self._looking.discard(waiter)
            self._changed.set()
