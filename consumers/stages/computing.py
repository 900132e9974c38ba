"""Computes the figures of reports in two threads, aside from the event loop and from the threads that read files.

What runs in a thread goes on when its job is cancelled. So a few jobs with much to compare must not take the threads
that everybody's files are read and written in.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="welip-figures")


async def computed(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work`, which must not wait for anything."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, lambda: work(*args, **kwargs))
