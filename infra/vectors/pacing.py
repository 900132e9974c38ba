"""Paces what the embedded engine does with Python's global lock held: it opens shards, closes them, and adds fields."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

PAUSES: Final = 3
"""A tenant's next such call waits this many times as long as its last one took."""

LONGEST_S: Final = 0.5
"""The longest wait: to open a large shard may take as long, and a tenant may need several of its own."""


class Run(Protocol):
    """Runs a function in a thread."""

    def __call__(self, work: Callable[[], Any], /) -> Awaitable[Any]:
        """Return its result, or raise its error."""


class Pacing:
    """For one event loop. The engine syncs files meanwhile, which takes up to a tenth of a second on a busy disk, and
    everything else in the process waits. So a tenant that makes hundreds of collections or fields, or goes through as
    many in turn, has a quarter of the time, or half where each call takes long. A first call never waits.
    """

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        """When the next call of a tenant may begin, on the monotonic clock."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, tenant: str, run: Run, work: Callable[[], T]) -> T:
        """The result of `work`, which `run` runs in a thread when it is the tenant's turn."""

        def timed() -> T:
            began = time.monotonic()
            try:
                return work()
            finally:
                ended = time.monotonic()
                self._next[tenant] = ended + min(PAUSES * (ended - began), LONGEST_S)

        async with self._turns.setdefault(tenant, asyncio.Lock()):
            await asyncio.sleep(max(0.0, self._next.get(tenant, 0.0) - time.monotonic()))
            result: T = await run(timed)
            return result
