"""Claims that a stop must not interrupt: jobs claimed by this worker would wait until their leases end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

ENDS_WITHIN_S: Final = 3.0
"""How long a stop waits for a claim under way. After that Postgres is away: nothing is claimed."""


async def whole(claim: Coroutine[Any, Any, T]) -> T:
    """The claim's answer. A caller that is cancelled lets the claim finish first."""
    task = asyncio.create_task(claim)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=ENDS_WITHIN_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
