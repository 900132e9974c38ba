"""Connections with too little traffic are closed, so nobody can hold one forever. Real uvicorn, raw sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from gateway.http import connections
from gateway.http.connections import LimitedConnection
from schemas.answers import Problem

HEAD = b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
DEADLINE_S = 60


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits, short enough for a test to wait for them."""
    for name, value in {
        "HEAD_WITHIN_S": 0.3,
        "BODY_GRACE_S": 0.3,
        "LOOK_EVERY_S": 0.05,
        "BODY_BYTES_A_SECOND": 1_000_000,
        "TAKEN_WITHIN_S": 0.3,
    }.items():
        monkeypatch.setattr(connections, name, value)


@pytest.fixture
async def server(hurried: None) -> AsyncIterator[uvicorn.Server]:
    app = FastAPI()

    @app.post("/count")
    async def count(request: Request) -> int:
        return len(await request.body())

    @app.post("/slow")
    async def slow(request: Request) -> int:
        await asyncio.sleep(1)
        return len(await request.body())

    @app.get("/large")
    async def large() -> Response:
        return Response(b"x" * 50_000_000)

    config = uvicorn.Config(app, port=0, http=LimitedConnection, log_config=None, lifespan="off")
    made = uvicorn.Server(config)
    serving = asyncio.create_task(made.serve())
    await until(lambda: made.started)
    yield made
    made.should_exit = True
    await serving


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    number: int = server.servers[0].sockets[0].getsockname()[1]
    return number


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.01)


async def told(port: int, *sent: bytes) -> bytes:
    """Send these pieces; returns everything that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(DEADLINE_S):
            return await reader.read()
    finally:
        writer.close()


async def test_who_says_nothing_is_not_kept(port: int) -> None:
    assert await told(port) == b""


@pytest.mark.parametrize(
    "sent",
    [
        [b"POST /count HT"],
        [b"POST /count HTTP/1.1\r\nHost: local"],
        [HEAD % 100],
        [HEAD % 100, b"some of it"],
        [HEAD % 2 + b"ok", b"GET /lar"],
    ],
    ids=["line", "headers", "no body", "part of a body", "a second request"],
)
async def test_a_request_that_does_not_arrive_is_told_so(port: int, sent: list[bytes]) -> None:
    answer = await told(port, *sent)
    status, _, rest = answer[answer.rindex(b"HTTP/1.1 ") :].partition(b"\r\n")
    assert status == b"HTTP/1.1 408 Request Timeout"
    found = Problem.model_validate(json.loads(rest.partition(b"\r\n\r\n")[2]))
    assert (found.status, found.code) == (408, "request_too_slow")


async def test_a_trickle_does_not_keep_a_body_alive(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD % 1_000_000)
    answer = asyncio.create_task(reader.read())
    async with asyncio.timeout(DEADLINE_S):
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(0.02)
    writer.close()
    assert (await answer).startswith(b"HTTP/1.1 408 ")


async def test_what_waits_for_this_side_costs_the_sender_nothing(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b"x" * 2_000_000
    writer.write(HEAD.replace(b"/count", b"/slow") % len(body))
    writer.write(body)
    async with asyncio.timeout(DEADLINE_S):
        await writer.drain()
        answer = await reader.readuntil(b"2000000")
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_connection_may_rest_between_requests(server: uvicorn.Server, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(HEAD % 2 + b"ok")
        async with asyncio.timeout(DEADLINE_S):
            assert (await reader.readuntil(b"\r\n\r\n2")).startswith(b"HTTP/1.1 200 ")
        [connection] = server.server_state.connections
        assert isinstance(connection, LimitedConnection)
        assert connection._timer is None
    writer.close()


async def test_who_takes_nothing_of_an_answer_is_cut_off(server: uvicorn.Server, port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: len(server.server_state.connections) == 1)
    await until(lambda: not server.server_state.connections)
    writer.close()
