"""The next item is made while the present one is used; order, errors and endings stay as they were."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.ahead import ahead


async def test_the_next_item_is_made_while_the_present_one_is_used() -> None:
    second = asyncio.Event()

    async def items() -> AsyncIterator[int]:
        yield 1
        second.set()
        yield 2

    found = []
    async for item in ahead(items()):
        if item == 1:
            async with asyncio.timeout(60):
                await second.wait()
        found.append(item)
    assert found == [1, 2]


async def test_an_error_comes_after_the_items_before_it() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        raise ValueError("the second")

    reading = ahead(items())
    assert await anext(reading) == 1
    with pytest.raises(ValueError, match="the second"):
        await anext(reading)


async def test_whoever_stops_early_leaves_no_work_behind() -> None:
    ended = asyncio.Event()

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.set()

    reading = ahead(items())
    assert await anext(reading) == 1
    await asyncio.sleep(0)
    await reading.aclose()
    assert ended.is_set()
