"""A gateway's connection to a worker that searches: who may open it, and what becomes of searches when one leaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from infra.isolation.frames import HEAD, pack
from infra.searches.client import NotBegun, SearchConnection, SearchLost
from infra.searches.server import Question, SearchServer
from infra.searches.wire import GREETING_BYTES, received
from schemas.errors import InvalidInput

HOST = "127.0.0.1"
DEADLINE_S = 30


class Worker:
    """Answers `echo ...` with the question, `fail` and `break` with errors, `elsewhere` with None, `hang` never."""

    def __init__(self) -> None:
        self.hanging = 0
        self.cancelled = 0
        self.asked: list[Question] = []
        self.go_on = asyncio.Event()

    async def __call__(self, question: Question) -> bytes | None:
        self.asked.append(question)
        match question.content:
            case b"fail":
                raise InvalidInput("no", code="refused", field="query")
            case b"break":
                raise ZeroDivisionError
            case b"elsewhere":
                return None
            case b"hang":
                self.hanging += 1
                try:
                    await self.go_on.wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
                finally:
                    self.hanging -= 1
        return question.content


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[tuple[SearchServer, int]]:
    server = SearchServer(worker)
    try:
        yield server, await server.start(HOST, 0)
    finally:
        await server.drain(0)


@asynccontextmanager
async def connected(worker: Worker) -> AsyncIterator[tuple[SearchServer, SearchConnection]]:
    async with serving(worker) as (server, port):
        connection = await SearchConnection.open(HOST, port, server.token)
        try:
            yield server, connection
        finally:
            await connection.close()


def ask(connection: SearchConnection, content: bytes, **more: Any) -> Awaitable[tuple[dict[str, Any], bytes]]:
    return connection.ask({"tenant": "t", **more}, content)


async def test_searches_run_side_by_side_and_each_gets_its_own_answer() -> None:
    worker = Worker()
    async with connected(worker) as (_, connection):
        slow = asyncio.ensure_future(ask(connection, b"hang"))
        await until(lambda: worker.hanging == 1)
        answers = await asyncio.gather(*(ask(connection, f"echo {n}".encode(), traceparent=f"{n}") for n in range(50)))
        assert [body for _, body in answers] == [f"echo {n}".encode() for n in range(50)]
        assert {question.tenant for question in worker.asked} == {"t"}
        assert [question.traceparent for question in worker.asked[1:]] == [f"{n}" for n in range(50)]
        assert connection.under_way == 1
        worker.go_on.set()
        assert (await slow)[1] == b"hang"
        assert connection.under_way == 0


async def test_an_answer_may_be_large_and_a_question_may_not() -> None:
    async with connected(Worker()) as (_, connection):
        body = b"x" * 3_000_000
        assert (await ask(connection, body))[1] == body
        with pytest.raises(SearchLost):
            await ask(connection, b"x" * 5_000_000)


async def test_errors_and_what_needs_a_job_end_their_own_search_alone() -> None:
    async with connected(Worker()) as (_, connection):
        failed, broken, elsewhere, fine = await asyncio.gather(
            *(ask(connection, content) for content in (b"fail", b"break", b"elsewhere", b"echo"))
        )
        assert failed[0]["error"] == {"code": "refused", "message": "no", "field": "query", "retryable": False}
        assert (broken[0]["error"]["code"], broken[0]["error"]["retryable"]) == ("internal_error", True)
        assert "ZeroDivisionError" in broken[0]["error"]["message"]
        assert elsewhere[0]["elsewhere"] is True
        assert fine[1] == b"echo"


async def test_cancelling_a_search_cancels_the_work_and_nothing_else() -> None:
    worker = Worker()
    async with connected(worker) as (_, connection):
        leaving, staying = (asyncio.ensure_future(ask(connection, b"hang")) for _ in range(2))
        await until(lambda: worker.hanging == 2)
        leaving.cancel()
        await until(lambda: worker.cancelled == 1)
        assert (worker.hanging, connection.under_way) == (1, 1)
        worker.go_on.set()
        assert (await staying)[1] == b"hang"


async def test_a_gateway_that_dies_leaves_no_work_behind() -> None:
    worker = Worker()
    async with connected(worker) as (_, connection):
        asked = [asyncio.ensure_future(ask(connection, b"hang")) for _ in range(3)]
        await until(lambda: worker.hanging == 3)
        connection._writer.transport.abort()
        await until(lambda: worker.cancelled == 3)
        assert [type(error) for error in await asyncio.gather(*asked, return_exceptions=True)] == [SearchLost] * 3
        assert not connection.usable
        with pytest.raises(NotBegun):
            await ask(connection, b"echo")


async def test_a_worker_that_dies_fails_its_searches_so_that_they_may_be_asked_again() -> None:
    worker = Worker()
    async with connected(worker) as (server, connection):
        asked = asyncio.ensure_future(ask(connection, b"hang"))
        await until(lambda: worker.hanging == 1)
        for one in server._connections:
            one.writer.transport.abort()
        with pytest.raises(SearchLost) as caught:
            await asked
        assert (caught.value.reason, caught.value.retryable) == ("search_lost", True)


async def test_a_worker_that_stops_answers_what_it_began_and_takes_nothing_more() -> None:
    worker = Worker()
    async with connected(worker) as (server, connection):
        begun = asyncio.ensure_future(ask(connection, b"hang"))
        await until(lambda: worker.hanging == 1)
        draining = asyncio.ensure_future(server.drain(DEADLINE_S))
        await until(lambda: not connection.usable)
        with pytest.raises(NotBegun):
            await ask(connection, b"echo")
        worker.go_on.set()
        assert (await begun)[1] == b"hang"
        async with asyncio.timeout(DEADLINE_S):
            await draining  # the gateway closes once it has its answers
        assert (worker.cancelled, server._connections) == (0, set())


async def test_a_worker_that_stops_gives_up_what_takes_too_long() -> None:
    worker = Worker()
    async with connected(worker) as (server, connection):
        begun = asyncio.ensure_future(ask(connection, b"hang"))
        await until(lambda: worker.hanging == 1)
        async with asyncio.timeout(DEADLINE_S):
            await server.drain(0.01)
        with pytest.raises(SearchLost):
            await begun
        assert worker.cancelled == 1


async def test_who_does_not_know_the_token_is_refused() -> None:
    worker = Worker()
    async with serving(worker) as (server, port):
        with pytest.raises(NotBegun):
            await SearchConnection.open(HOST, port, "guessed")
        for sent in (
            pack({}),
            pack({"proof": server.token}),
            pack({"search": 1, "tenant": "t"}, b"echo"),
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(sent)
            async with asyncio.timeout(DEADLINE_S):
                greeting, _ = await received(reader, GREETING_BYTES)
                assert server.token not in str(greeting)
                assert await reader.read() == b""
            writer.close()
        assert worker.asked == []


async def test_a_stranger_cannot_make_a_worker_read_much() -> None:
    async with serving(Worker()) as (_, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(HEAD.pack(2**31, 0))
        async with asyncio.timeout(DEADLINE_S):
            await received(reader, GREETING_BYTES)
            assert await reader.read() == b""
        writer.close()


async def test_a_process_that_listens_in_a_workers_place_is_asked_nothing() -> None:
    heard: list[dict[str, Any]] = []

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(pack({"nonce": "1"}))
        heard.append((await received(reader, GREETING_BYTES))[0])
        writer.write(pack({"proof": heard[0]["proof"]}))
        assert await reader.read() == b""
        writer.close()

    listening = await asyncio.start_server(pretend, HOST, 0)
    with pytest.raises(NotBegun):
        await SearchConnection.open(HOST, listening.sockets[0].getsockname()[1], "token")
    listening.close()
    assert "token" not in str(heard)


async def test_nobody_listening_is_told_at_once() -> None:
    async with serving(Worker()) as (server, port):
        await server.drain(0)
        with pytest.raises(NotBegun):
            await SearchConnection.open(HOST, port, server.token)
