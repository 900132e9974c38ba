"""Postgres, Kafka or a package group is missing: how this is reported, and that work continues when it returns."""

import asyncio
import contextlib
import re
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import run

import httpx

from infra.kafka.embedded import EmbeddedBroker
from infra.local.child import free_port
from tests.e2e.processes import ROOT, Gateway, Process, environment
from tests.e2e.test_jobs_api import problem
from tests.waiting import PATIENCE_S, until

NOOP = {"kind": "noop", "input": {}}


@asynccontextmanager
async def forwarding(
    port: int, connect: Callable[[], Awaitable[tuple[StreamReader, StreamWriter]]]
) -> AsyncIterator[None]:
    """Listen on `port` until the block ends, and pass connections on to what `connect` reaches."""
    open_ones: set[StreamWriter] = set()

    async def pump(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(64 * 1024):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: StreamReader, writer: StreamWriter) -> None:
        there, back = await connect()
        open_ones.update((writer, back))
        await asyncio.gather(pump(reader, back), pump(there, writer))
        open_ones.difference_update((writer, back))

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in list(open_ones):
            writer.transport.abort()
        await server.wait_closed()


def socket_of(url: str) -> tuple[str, str]:
    """The Unix socket and the database name in a PostgreSQL URL."""
    found = re.search(r"/([^/?]+)\?host=([^&]+)", url)
    assert found is not None, url
    return f"{found[2]}/.s.PGSQL.5432", found[1]


async def test_without_postgres_the_gateway_says_so_and_is_ready_when_it_comes(
    database_url: str, embedded_broker: EmbeddedBroker, tmp_path: Path, log: Path
) -> None:
    socket, database = socket_of(database_url)
    port = free_port()
    settings = {
        "WELIP_POSTGRES_URL": f"postgresql://postgres@127.0.0.1:{port}/{database}",
        "WELIP_KAFKA_URL": embedded_broker.url,
        "WELIP_KAFKA_EMBEDDED": "true",
        "WELIP_BLOBS_URL": f"file://{tmp_path}/blobs",
    }
    with Gateway(log, **settings) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=PATIENCE_S) as http:

            async def answers(status: int) -> bool:
                return (await http.get("/readyz")).status_code == status

            async def refused() -> None:
                ready = await http.get("/readyz")
                assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
                assert ready.json()["dependencies"]["postgres"].startswith("away")
                assert ready.json()["dependencies"]["kafka"] == "ok"
                submitted = await http.post("/v1/jobs", json=NOOP)
                assert problem(submitted) == (503, "dependency_unavailable", None)
                assert int(submitted.headers["retry-after"]) > 0
                assert submitted.json()["remedy"]
                uploaded = await http.post("/v1/files", files={"file": ("a.txt", b"x")})
                assert uploaded.status_code == 503
                assert (await http.get("/healthz")).status_code == 200
                assert (await http.get("/metrics")).status_code == 200

            await refused()
            for _ in range(2):  # it comes, goes away in the middle, and comes again
                async with forwarding(port, lambda: asyncio.open_unix_connection(socket)):
                    await until(lambda: answers(200), "ready")
                    accepted = await http.post("/v1/jobs", json=NOOP)
                    assert accepted.status_code == 202
                    assert (await http.get(accepted.headers["location"])).status_code == 200
                await until(lambda: answers(503), "not ready")
                await refused()
    assert ".defect" not in gateway.log


async def test_without_kafka_jobs_are_accepted_and_run_when_it_comes(
    database_url: str, embedded_broker: EmbeddedBroker, tmp_path: Path, log: Path
) -> None:
    port = free_port()
    settings = {
        "WELIP_POSTGRES_URL": database_url,
        "WELIP_KAFKA_URL": f"127.0.0.1:{port}",
        "WELIP_KAFKA_EMBEDDED": "true",
        "WELIP_BLOBS_URL": f"file://{tmp_path}/blobs",
        "WELIP_INDEX_URL": f"edge://{tmp_path}/index",
    }
    host, _, broker_port = embedded_broker.url.rpartition(":")
    worker = [sys.executable, "-m", "consumers"]
    with Gateway(log, **settings) as gateway, Process(worker, tmp_path / "worker.log", **settings):
        async with httpx.AsyncClient(base_url=gateway.url, timeout=PATIENCE_S) as http:
            accepted = await http.post("/v1/jobs", json=NOOP)
            assert accepted.status_code == 202
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert ready.json()["dependencies"]["kafka"].startswith("away")
            assert (await http.get(accepted.headers["location"])).json()["state"] == "queued"
            async with forwarding(port, lambda: asyncio.open_connection(host, int(broker_port))):

                async def done() -> bool:
                    answer = await http.get(accepted.headers["location"], headers={"Prefer": "wait=10"})
                    return bool(answer.json()["state"] == "succeeded")

                await until(done, "the job is done")
    assert ".defect" not in gateway.log


def test_a_worker_without_its_package_group_names_the_group(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'kiwipiepy':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    settings = environment(PYTHONPATH=f"{tmp_path}:{ROOT}", WELIP_BLOBS_URL=f"file://{tmp_path}/blobs")
    command = [sys.executable, "-m", "consumers", "--pool", "cpu"]
    said = run(command, env=settings, capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path)
    assert said.returncode == 2
    assert "pip install 'welip[cpu]'" in said.stderr
    assert "Traceback" not in said.stderr
