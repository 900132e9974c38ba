"""Runs what documents take of this process's own processor time in one thread, aside from the event loop.

In one, because Python runs one thread at a time: with many busy ones the loop, and with it everybody's interactive
work, would wait for each of them in each of its short turns, and no document would be ready sooner.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="welip-documents")


async def aside(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work`, which must not wait for anything."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, lambda: work(*args, **kwargs))
