"""When a gateway goes away, readers of a text miss and repeat nothing; a reader may stop the job by leaving."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn

from consumers.transcripts import Transcripts
from infra.postgres.database import Database
from infra.settings import (
    PostgresSettings,
)
from producers.client.async_ import AsyncClient
from schemas.ids import shown
from schemas.lifecycle import JobState
from tests.integration.gateways import gateway_app
from tests.integration.jobs import Jobs

PIECES = [f"{number} " for number in range(300)]


class Gateway:
    """A gateway that listens on its own port."""

    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server
        self.port = server.servers[0].sockets[0].getsockname()[1]

    def vanish(self) -> None:
        """Cut all connections without notice, as when a process is killed."""
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        self.stop()

    def stop(self) -> None:
        """Stop as on SIGTERM."""
        self._server.should_exit = True


@contextlib.asynccontextmanager
async def gateway(postgres: PostgresSettings, folder: Path) -> AsyncIterator[Gateway]:
    app = gateway_app(postgres, folder)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:
            await asyncio.sleep(0.01)
        await app.state.services.database.opened.wait()
    try:
        yield Gateway(server)
    finally:
        server.should_exit = True
        await serving


class Balanced(httpx.AsyncHTTPTransport):
    """Sends each request to the gateway that is currently `live`."""

    live: Gateway

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(port=self.live.port)
        return await super().handle_async_request(request)


@pytest.fixture
async def two(postgres: PostgresSettings, database: Database, tmp_path: Path) -> AsyncIterator[list[Gateway]]:
    async with gateway(postgres, tmp_path) as first, gateway(postgres, tmp_path) as second:
        yield [first, second]


async def test_a_text_is_read_on_from_another_gateway(jobs: Jobs, database: Database, two: list[Gateway]) -> None:
    balanced = Balanced()
    balanced.live, other = two
    [row] = await jobs.claim(*await jobs.submit())
    transcript = Transcripts(database).of(row, lambda why: None)
    read: list[str] = []
    async with AsyncClient("http://127.0.0.1", transport=balanced) as client:
        stream = client.stream(shown("job", row.id))

        async def follow() -> None:
            async for piece in stream:
                read.append(piece)

        following = asyncio.create_task(follow())
        for number, piece in enumerate(PIECES):
            transcript.write(piece)
            await asyncio.sleep(0.001)
            if number == 100:
                async with asyncio.timeout(60):
                    while not read:
                        await asyncio.sleep(0.01)
                gone, balanced.live = balanced.live, other
                gone.vanish()
        await transcript.settle("".join(PIECES))
        await jobs.finish(row.id, row.epoch, JobState.SUCCEEDED)
        await asyncio.wait_for(following, 60)
        assert "".join(read) == "".join(PIECES)
        assert len(read) > 2, "it was read while it was written"
        assert stream.job is not None
        assert stream.job.state is JobState.SUCCEEDED

        # And after the job has ended: from the beginning, or from a given event.
        again = client.stream(shown("job", row.id))
        assert "".join([piece async for piece in again]) == "".join(PIECES)
        events = [event async for event in client.events(shown("job", row.id))]
        rest = [event async for event in client.events(shown("job", row.id), after=events[3].id)]
        assert rest == events[4:]


async def state(jobs: Jobs, job_id: UUID) -> tuple[str, bool]:
    row: Any = await jobs.row(job_id)
    return row["state"], row["cancel_requested"]


async def test_a_reader_who_leaves_stops_the_job_only_if_it_asked_so(jobs: Jobs, two: list[Gateway]) -> None:
    [asked, silent, ended] = await jobs.submit(3)
    async with AsyncClient(f"http://127.0.0.1:{two[0].port}") as client:
        for job_id, how in ((silent, "continue"), (ended, "cancel"), (asked, "cancel")):
            if job_id == ended:
                await jobs.end(job_id)
            async with client._http.stream(
                "GET", f"/v1/jobs/{shown('job', job_id)}/events", params={"on_disconnect": how}
            ) as answer:
                assert answer.status_code == 200
                await anext(answer.aiter_lines())
        async with asyncio.timeout(60):
            while await state(jobs, asked) != ("cancelled", True):
                await asyncio.sleep(0.01)
    assert await state(jobs, silent) == ("queued", False)
    assert await state(jobs, ended) == ("succeeded", False)


async def test_a_gateway_that_stops_cancels_no_job(jobs: Jobs, postgres: PostgresSettings, tmp_path: Path) -> None:
    [job_id] = await jobs.submit()
    path, asked = f"/v1/jobs/{shown('job', job_id)}/events", {"on_disconnect": "cancel"}
    async with (
        gateway(postgres, tmp_path) as here,
        AsyncClient(f"http://127.0.0.1:{here.port}") as client,
        client._http.stream("GET", path, params=asked) as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        here.stop()
        with contextlib.suppress(httpx.TransportError):
            async with asyncio.timeout(60):
                async for _ in lines:
                    pass
    assert await state(jobs, job_id) == ("queued", False)
