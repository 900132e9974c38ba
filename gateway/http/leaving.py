"""Work for a request that nobody else needs: it is cancelled when its client leaves."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

T = TypeVar("T")

QUICK_S: Final = 0.1
"""Work that ends sooner is not worth watching its client for."""


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work` for a request whose body has been read. Raises `ClientDisconnect` when the client left."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task], timeout=QUICK_S)
        if not task.done():
            left = asyncio.create_task(_left(request))
            try:
                await asyncio.wait([task, left], return_when=asyncio.FIRST_COMPLETED)
            finally:
                left.cancel()
        if not task.done():
            raise ClientDisconnect
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return task.result()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
