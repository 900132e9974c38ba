"""How a process waits for its end."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


async def stopped_by_signal(*work: Coroutine[Any, Any, None]) -> None:
    """Until SIGTERM or SIGINT, or until one of `work` ends; then the rest is cancelled. Raises what ended it."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    tasks = [asyncio.create_task(stop.wait()), *(asyncio.create_task(one) for one in work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
