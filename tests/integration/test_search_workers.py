"""How a gateway finds workers that answer searches, asks them, and goes on when one is gone: on real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from consumers.searches import serving
from consumers.searches.answering import TooManySearches
from consumers.searches.serving import SearchServing
from gateway.collections import workers as search_workers
from gateway.collections.workers import Searches
from infra.postgres.database import Database
from infra.postgres.queries import search_servers
from infra.searches.server import Question
from infra.searches.wire import PROTOCOL
from infra.settings import (
    PostgresSettings,
    SearchSettings,
)
from schemas.errors import Conflict, DependencyUnavailable
from tests.integration.gateways import gateway_app
from tests.integration.jobs import Jobs

DEADLINE_S = 60
SEARCH = "/v1/collections/c/search"


class Worker:
    """A worker's searches without its index: what it answers is set by the test."""

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self.asked: list[Question] = []
        self.raises: Exception | None = None
        self.elsewhere = False
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.serving = SearchServing(self.answer, database, SearchSettings(), worker=name)
        self._announcing: asyncio.Task[None] | None = None

    async def answer(self, question: Question) -> bytes | None:
        self.asked.append(question)
        await self.go_on.wait()
        if self.raises is not None:
            raise self.raises
        return None if self.elsewhere else orjson.dumps({"data": [], "by": self.name})

    async def start(self) -> None:
        await self.serving.start()
        self._announcing = asyncio.create_task(self.serving.run())

    async def stop(self) -> None:
        await self._silence()
        await self.serving.drain(DEADLINE_S)

    async def die(self) -> None:
        """As on SIGKILL: connections end, and nothing is said to Postgres."""
        await self._silence()
        server = self.serving._server
        assert server._server is not None
        server._server.close()
        for connection in list(server._connections):
            connection.writer.transport.abort()

    async def _silence(self) -> None:
        assert self._announcing is not None
        self._announcing.cancel()
        await asyncio.gather(self._announcing, return_exceptions=True)


@pytest.fixture
async def workers(database: Database) -> AsyncIterator[list[Worker]]:
    """Two workers that are announced."""
    made = [Worker(database, f"w{n}") for n in range(2)]
    for worker in made:
        await worker.start()
    await announced(database, {worker.name for worker in made})
    yield made
    for worker in made:
        await worker.die()


async def announced(database: Database, names: set[str]) -> None:
    """Wait until these workers can be found, and no others."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with database.connection() as connection:
                if {row["worker"] for row in await search_servers.find(connection, PROTOCOL)} == names:
                    return
            await asyncio.sleep(0.01)


@pytest.fixture
async def gateway(postgres: PostgresSettings, tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Searches]]:
    """The gateway without agents, so that no job of its is ever done."""
    app = gateway_app(postgres, tmp_path)
    async with app.router.lifespan_context(app):
        await app.state.services.database.opened.wait()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            yield client, app.state.services.searches


async def search(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post(SEARCH, json={"query": "고래", **body})


async def test_searches_are_spread_over_the_workers_and_leave_no_job(
    gateway: tuple[httpx.AsyncClient, Searches], workers: list[Worker], jobs: Jobs
) -> None:
    http, _ = gateway
    answers = [await search(http, top_k=3, filter={"year": 2024}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert sorted(answer.json()["by"] for answer in answers) == ["w0"] * 3 + ["w1"] * 3
    [sent, *_] = workers[0].asked
    assert sent.tenant == "default"
    expected = {"collection": "c", "question": "고래", "top_k": 3, "filter": {"year": 2024}, "generate": None}
    assert {name: value for name, value in orjson.loads(sent.content).items() if name in expected} == expected
    assert await jobs.fetch("SELECT 1 FROM job") == []


async def test_a_worker_that_does_not_answer_gets_no_more_searches_while_others_do(
    gateway: tuple[httpx.AsyncClient, Searches], workers: list[Worker]
) -> None:
    http, _ = gateway
    frozen, well = workers
    frozen.go_on.clear()
    waiting = [asyncio.create_task(search(http)) for _ in range(2)]
    async with asyncio.timeout(DEADLINE_S):
        while not frozen.asked:
            await asyncio.sleep(0.01)
    assert {(await search(http)).json()["by"] for _ in range(5)} == {well.name}
    assert len(frozen.asked) == 1
    frozen.go_on.set()
    assert [(await one).status_code for one in waiting] == [200, 200]


async def test_a_search_whose_worker_dies_is_answered_with_503_and_the_next_one_by_another(
    gateway: tuple[httpx.AsyncClient, Searches], workers: list[Worker]
) -> None:
    http, _ = gateway
    for worker in workers:
        worker.go_on.clear()
    waiting = {worker.name: asyncio.create_task(search(http)) for worker in workers}
    async with asyncio.timeout(DEADLINE_S):
        while not all(worker.asked for worker in workers):
            await asyncio.sleep(0.01)
    doomed, other = workers
    await doomed.die()
    async with asyncio.timeout(DEADLINE_S):
        done, _ = await asyncio.wait(waiting.values(), return_when=asyncio.FIRST_COMPLETED)
    lost = done.pop().result()
    assert (lost.status_code, lost.json()["code"]) == (503, "search_lost")
    assert int(lost.headers["retry-after"]) > 0
    assert lost.headers.get("x-should-retry") != "false"
    other.go_on.set()
    assert [(await search(http)).json()["by"] for _ in range(3)] == [other.name] * 3
    assert sorted([(await one).status_code for one in waiting.values()]) == [200, 503]


@pytest.mark.parametrize("how", ["stop", "die"])
async def test_without_a_worker_that_searches_a_job_does_it(
    gateway: tuple[httpx.AsyncClient, Searches],
    workers: list[Worker],
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    monkeypatch.setattr("gateway.jobs.internal.ANSWER_WITHIN_S", 0.1)
    http, _ = gateway
    assert (await search(http)).status_code == 200
    for worker in workers:
        await getattr(worker, how)()
    assert (await search(http)).json()["code"] == "not_done_yet"
    [row] = await jobs.fetch("SELECT kind, stage, lane FROM job")
    assert tuple(row) == ("inference", "retrieve", "interactive")


async def test_what_a_worker_leaves_to_a_job_becomes_one(
    gateway: tuple[httpx.AsyncClient, Searches], workers: list[Worker], jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.jobs.internal.ANSWER_WITHIN_S", 0.1)
    for worker in workers:
        worker.elsewhere = True
    http, _ = gateway
    assert (await search(http, rerank=True)).status_code == 503
    [row] = await jobs.fetch("SELECT input FROM job")
    assert orjson.loads(row["input"])["rerank"] is True


@pytest.mark.parametrize(
    ("raised", "status", "code", "field"),
    [
        (Conflict("empty", code="collection_empty", field="input.collection"), 409, "collection_empty", "name"),
        (TooManySearches("too many"), 429, "too_many_searches", None),
        (DependencyUnavailable("the index is away"), 503, "dependency_unavailable", None),
        (ZeroDivisionError(), 503, "internal_error", None),
    ],
)
async def test_the_error_of_a_search_is_answered_as_that_of_a_job(
    gateway: tuple[httpx.AsyncClient, Searches],
    workers: list[Worker],
    raised: Exception,
    status: int,
    code: str,
    field: str | None,
) -> None:
    for worker in workers:
        worker.raises = raised
    http, _ = gateway
    answer = await search(http)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (status, code, field)
    assert ("retry-after" in answer.headers) is (status in (429, 503))


async def test_a_search_that_takes_too_long_is_given_up(
    gateway: tuple[httpx.AsyncClient, Searches], workers: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_workers, "ANSWER_WITHIN_S", 1.0)
    for worker in workers:
        worker.go_on.clear()
    http, _ = gateway
    answer = await search(http)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_done_yet")
    [asked] = [worker for worker in workers if worker.asked]
    async with asyncio.timeout(DEADLINE_S):
        while any(one.running for one in asked.serving._server._connections):
            await asyncio.sleep(0.01)


async def test_a_worker_that_comes_later_is_found(
    gateway: tuple[httpx.AsyncClient, Searches],
    workers: list[Worker],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search_workers, "LOOK_EVERY_S", 0.0)
    http, _ = gateway
    assert (await search(http)).status_code == 200
    late = Worker(database, "late")
    await late.start()
    async with asyncio.timeout(DEADLINE_S):
        while not late.asked:
            assert (await search(http)).status_code == 200
    await late.stop()


async def test_silent_workers_and_those_of_another_protocol_are_not_found(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "ANNOUNCE_EVERY_S", 0.05)
    worker = Worker(database, "speaks")
    await worker.start()
    async with database.connection() as connection:
        await search_servers.announce(connection, "newer", PROTOCOL + 1, "h", 1, "t")
        await search_servers.announce(connection, "silent", PROTOCOL, "h", 1, "t")
        await search_servers.announce(connection, "long silent", PROTOCOL, "h", 1, "t")
    await jobs.fetch("UPDATE search_server SET seen_at = now() - interval '11 s' WHERE worker = 'silent'")
    await jobs.fetch("UPDATE search_server SET seen_at = now() - interval '2 h' WHERE worker = 'long silent'")
    await announced(database, {"speaks"})
    await jobs.fetch("UPDATE search_server SET seen_at = now() - interval '11 s' WHERE worker = 'speaks'")
    await announced(database, {"speaks"})
    kept = {row["worker"] for row in await jobs.fetch("SELECT worker FROM search_server")}
    assert kept == {"speaks", "newer", "silent"}
    await worker.stop()
    await announced(database, set())
