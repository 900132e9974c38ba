"""Work for a request ends when its client leaves."""

import asyncio
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.http import leaving
from gateway.http.leaving import while_connected


class Client:
    """Sends no more of its request, and leaves when it is told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.watched = asyncio.Event()
        self.request = Request({"type": "http", "headers": []}, self.receive)

    async def receive(self) -> dict[str, Any]:
        self.watched.set()
        await self.left.wait()
        return {"type": "http.disconnect"}


@pytest.fixture(autouse=True)
def _watch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "QUICK_S", 0.0)


async def test_work_whose_client_leaves_is_cancelled() -> None:
    client, ended = Client(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(while_connected(client.request, work()))
    await client.watched.wait()
    client.left.set()
    with pytest.raises(ClientDisconnect):
        await waiting
    assert ended.is_set()


async def test_work_whose_client_stays_gives_its_result_or_error() -> None:
    client = Client()

    async def fine() -> int:
        await client.watched.wait()
        return 7

    async def wrong() -> int:
        await client.watched.wait()
        raise ZeroDivisionError

    assert await while_connected(client.request, fine()) == 7
    with pytest.raises(ZeroDivisionError):
        await while_connected(client.request, wrong())


async def test_quick_work_does_not_watch_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "QUICK_S", 30.0)
    client = Client()

    async def quick() -> int:
        return 7

    assert await while_connected(client.request, quick()) == 7
    assert not client.watched.is_set()
