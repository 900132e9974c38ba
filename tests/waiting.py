"""Waiting for a condition."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE_S: Final = 120.0
"""So long may anything take on a busy machine. A test that passes never waits for it."""


async def until(
    met: Callable[[], object | Awaitable[object]],
    what: str,
    *,
    within_s: float = PATIENCE_S,
    look_every_s: float = 0.02,
) -> None:
    """Return when `met` answers with something truthy; at the deadline fail with `what` did not happen."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                answer = met()
                if await answer if inspect.isawaitable(answer) else answer:
                    return
                await asyncio.sleep(look_every_s)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None
