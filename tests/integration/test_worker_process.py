"""`welip worker` as a process: killed in the middle of jobs, told to stop, or unable to start."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from infra.postgres.queries import claim
from infra.settings import KafkaSettings, PostgresSettings
from producers.rescue import Rescuer
from tests.integration.house import LEASE_S, RESCUE, House

START_S = 120.0
"""So long may a process take to start, and jobs to be run by it."""
SHORTER = """UPDATE job SET input = '{"sleep_s": 0}'"""
"""Jobs run long enough for all to run at once, however busy the machine is; they need not do so twice."""

pytestmark = pytest.mark.timeout(400)  # each wait has a deadline of its own

Start = Callable[..., "asyncio.Future[asyncio.subprocess.Process]"]


@pytest.fixture
async def workers(tmp_path: Path, postgres: PostgresSettings, kafka: KafkaSettings) -> AsyncIterator[Start]:
    """Starts worker processes of a pool, each with its own index; in the end kills those that are left."""
    started: list[asyncio.subprocess.Process] = []
    environment = os.environ | {
        "WELIP_POSTGRES_URL": postgres.url.get_secret_value(),
        "WELIP_KAFKA_URL": kafka.url,
        "WELIP_KAFKA_EMBEDDED": str(kafka.embedded),
        "WELIP_BLOBS_URL": f"file://{tmp_path}/blobs",
        "WELIP_WORKER_LEASE": str(LEASE_S),
        "WELIP_WORKER_HEARTBEAT": "0.3",
        "WELIP_WORKER_DRAIN": "0.2",
        "WELIP_LOG_LEVEL": "warning",
    }

    async def start(pool: str = "cpu", *, model: str | None = None, **more: str) -> asyncio.subprocess.Process:
        number = len(started)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumers", *(("--pool", pool) if model is None else ("--model", model))),
            env=environment | {"WELIP_INDEX_URL": f"edge://{tmp_path}/index-{number}"} | more,
        )
        started.append(process)
        return process

    yield lambda *pool, **more: asyncio.ensure_future(start(*pool, **more))
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)  # what follows a death is tried on both below
async def test_the_jobs_of_a_killed_worker_are_finished_by_the_next(house: House, workers: Start) -> None:
    doomed = await workers()
    ids = await house.submit(8, input='{"sleep_s": 60}')
    await house.until(ids, {"running"}, within_s=START_S)
    doomed.kill()
    assert await doomed.wait() == -signal.SIGKILL
    await house.jobs.fetch(SHORTER)
    await workers()
    rows = await house.until(ids, within_s=START_S)
    assert {(row["state"], row["attempt"]) for row in rows} == {("succeeded", 1)}
    assert min(row["epoch"] for row in rows) >= 2


async def test_the_jobs_of_a_killed_process_are_run_long_before_their_leases_end(house: House, workers: Start) -> None:
    doomed = await workers(WELIP_WORKER_LEASE="600")
    ids = await house.submit(8, input='{"sleep_s": 60}')
    await house.until(ids, {"running"}, within_s=START_S)
    rescuer = Rescuer(house.database, RESCUE.model_copy(update={"gone": timedelta(seconds=1)}), lambda: None)
    sweeping = asyncio.create_task(rescuer.run())
    doomed.kill()
    await house.jobs.fetch(SHORTER)
    await workers(WELIP_WORKER_LEASE="600")
    rows = await house.until(ids, within_s=START_S)
    sweeping.cancel()
    assert {(row["state"], row["epoch"], row["attempt"]) for row in rows} == {("succeeded", 2, 1)}


@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_a_worker_that_is_told_to_stop_hands_its_jobs_back_and_ends_clean(house: House, workers: Start) -> None:
    stopping = await workers(WELIP_WORKER_LEASE="600")
    ids = await house.submit(8, input='{"sleep_s": 60}')
    await house.until(ids, {"running"}, within_s=START_S)
    stopping.send_signal(signal.SIGTERM)
    async with asyncio.timeout(START_S):
        assert await stopping.wait() == 0
    rows = await house.jobs.rows(ids)
    assert {(row["state"], row["epoch"], row["attempt"]) for row in rows} == {("queued", 1, 0)}


WORKERS = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE application_name LIKE 'welip-worker-%'"


@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_one_embedded_index_serves_a_worker_that_searches_beside_one_that_does_not(
    house: House, workers: Start, tmp_path: Path
) -> None:
    index = {"WELIP_INDEX_URL": f"edge://{tmp_path}/index"}
    beside = [await workers("cpu", **index), await workers("gpu", **index)]
    async with asyncio.timeout(START_S):
        # A worker's sessions start when its ports are open.
        while len(await house.jobs.fetch(WORKERS)) < 2:
            assert [process.returncode for process in beside] == [None, None]
            await asyncio.sleep(0.1)
    second = await workers("cpu", **index)
    async with asyncio.timeout(START_S):
        assert await second.wait() == 2
    assert [process.returncode for process in beside] == [None, None]


TWO_MODELS = """
[[models]]
name = "a"
engine = "openai"
url = "http://127.0.0.1:9"

[[models]]
name = "b"
engine = "openai"
url = "http://127.0.0.1:9"
"""


@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_a_worker_of_one_model_serves_that_as_long_as_it_lives_and_no_pool(
    house: House, workers: Start, tmp_path: Path
) -> None:
    (tmp_path / "models.toml").write_text(TWO_MODELS)
    models = {"WELIP_MODELS": str(tmp_path / "models.toml")}

    async def until_served(names: set[str]) -> None:
        async with asyncio.timeout(120):
            while True:
                async with house.database.connection() as connection:
                    if await claim.served(connection, ["a", "b"]) == names:
                        return
                await asyncio.sleep(0.05)

    refused = await workers(model="gone", **models)
    async with asyncio.timeout(60):
        assert await refused.wait() == 2
    one = await workers(model="b", **models)
    await until_served({"b"})
    [unread] = await house.submit(1)
    one.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await one.wait() == 0
    await until_served(set())
    assert [row["state"] for row in await house.jobs.rows([unread])] == ["queued"]
