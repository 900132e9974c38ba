"""Reads ahead: makes the next item while the present one is used, where one of the two waits for an outside system."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, TypeVar

T = TypeVar("T")
END: Final = object()


async def ahead(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The same items in the same order, one of them ahead. What `items` raises comes after those before it."""
    coming = asyncio.ensure_future(anext(items, END))
    try:
        while (item := await coming) is not END:
            coming = asyncio.ensure_future(anext(items, END))
            yield item  # type: ignore[misc]
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
