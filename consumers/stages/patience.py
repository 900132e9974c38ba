"""Waits out an outage of object storage: what took hours to make is not thrown away for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from schemas.errors import DependencyUnavailable

T = TypeVar("T")

PATIENCE_S: Final = 1_800
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 15.0


async def patient(work: Callable[[], Awaitable[T]], limit_s: float = PATIENCE_S) -> T:
    """What `work` gives, tried again while an outside system is away. After the limit raises what it raises."""
    until, pause = time.monotonic() + limit_s, FIRST_PAUSE_S
    while True:
        try:
            return await work()
        except DependencyUnavailable:
            if time.monotonic() + pause > until:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
