"""A worker process that is stuck, or met a defect, ends with a status that says so; the next one does its work."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import uuid_utils.compat as uuids

from infra.kafka.broker import publish
from infra.local.child import free_port
from infra.local.kafka import KafkaServer
from infra.postgres.queries.deaths import SUSPECTED
from infra.settings import KafkaSettings, PostgresSettings
from schemas.messages import Summons
from schemas.topics import Lane
from tests.conftest import execute
from tests.integration.house import HEARTBEAT_S, LEASE_S, House

pytestmark = pytest.mark.timeout(400)  # each wait has a deadline of its own

ROOT = Path(__file__).parents[2]
STUCK_S = 4.0
"""A busy machine may leave a worker that is well without processor for seconds."""
BLOCKED_WITHIN_S = 270.0
"""So long may it take until several workers were blocked, ended, and started again."""
START_S = 120.0
"""So long may a process take to start or to end."""

WORKER = """
import sys
from consumers.__main__ import main
sys.exit(main(["--pool", "cpu"]))
"""

GATEWAY = """
import sys
from gateway.__main__ import main
sys.exit(main())
"""

WITH_TRIAL = """
import sys
from pytest import MonkeyPatch
from consumers.__main__ import main
from tests.integration.trial import trial_kind
with MonkeyPatch.context() as patch:
    for _ in trial_kind(patch):
        sys.exit(main(["--pool", "cpu"]))
"""

PAUSED = (
    """
from aiokafka import AIOKafkaConsumer
poll = AIOKafkaConsumer.getmany
async def getmany(consumer, *partitions, **options):
    consumer.pause(*consumer.assignment())
    return await poll(consumer, *partitions, **options)
AIOKafkaConsumer.getmany = getmany
"""
    + WORKER
)

HOLDS_PYTHONS_LOCK = """
import asyncio, ctypes
from consumers.liveness import LoopWatch
async def main():
    LoopWatch(0.6).start()
    await asyncio.sleep(0.3)
    ctypes.PyDLL(None).sleep(60)
asyncio.run(main())
"""

DOES_NOT_STOP = """
import asyncio
from infra.process import stopped_by_signal
async def stubborn():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
async def defect():
    raise ZeroDivisionError
asyncio.run(stopped_by_signal(stubborn(), defect(), ends_within_s=0.5))
"""


@dataclass(frozen=True)
class Ended:
    status: int
    log: str


class Python:
    """A Python process whose output is kept."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def said(self, event: str, *, within_s: float = START_S) -> None:
        async with asyncio.timeout(within_s):
            while event not in self.log:
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.05)

    async def ended(self, *, within_s: float = START_S) -> Ended:
        async with asyncio.timeout(within_s):
            status = await self.process.wait()
        return Ended(status, self.log)


Start = Callable[[str], Awaitable[Python]]


@pytest.fixture
async def python(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts Python on a program text, with this process's environment; in the end kills what is left."""
    started: list[Python] = []

    async def start(text: str) -> Python:
        log = tmp_path / f"{len(started)}.log"
        with log.open("wb") as to:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                text,
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(ROOT), "WELIP_INDEX_URL": f"edge://{tmp_path}/{len(started)}"},
                stdout=to,
                stderr=to,
            )
        started.append(Python(process, log))
        return started[-1]

    yield start
    for one in started:
        if one.process.returncode is None:
            one.process.kill()
        await one.process.wait()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres: PostgresSettings, kafka: KafkaSettings) -> None:
    """The settings of worker processes: this test's servers, and short times."""
    chosen = {
        "WELIP_POSTGRES_URL": postgres.url.get_secret_value(),
        "WELIP_KAFKA_URL": kafka.url,
        "WELIP_KAFKA_EMBEDDED": str(kafka.embedded),
        "WELIP_BLOBS_URL": f"file://{tmp_path}/blobs",
        "WELIP_WORKER_LEASE": str(LEASE_S),
        "WELIP_WORKER_HEARTBEAT": str(HEARTBEAT_S),
        "WELIP_WORKER_DRAIN": "0.5",
        "WELIP_WORKER_STUCK": str(STUCK_S),
        "WELIP_WORKER_WARM": "false",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)


def stale() -> Summons:
    """A summons for a job that does not exist."""
    return Summons(job_id=uuids.uuid7(), kind="noop", stage="run", epoch=0, lane=Lane.INTERACTIVE)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_a_worker_whose_event_loop_is_blocked_ends_and_its_jobs_go_to_the_next(
    house: House, python: Start
) -> None:
    worker = await python(WITH_TRIAL)
    neighbours = await house.submit(2, input='{"sleep_s": 6}')
    await house.until(neighbours, {"running"}, within_s=START_S)
    [blocking] = await house.submit(1, kind="trial", stage="act", input='{"block_s": 600.0}', max_attempts=1)
    ended = await worker.ended()
    assert ended.status == os.EX_SOFTWARE
    assert '"event":"worker.stuck"' in ended.log
    assert '"reason":"loop"' in ended.log
    assert "trial.py" in ended.log  # the traceback leads to the stage
    await python(WITH_TRIAL)
    rows = await house.until([*neighbours, blocking], within_s=START_S)
    assert [(row["state"], row["attempt"]) for row in rows] == [("succeeded", 1)] * 2 + [("failed", 1)]


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_a_stage_that_blocks_every_worker_fails_and_what_ran_beside_it_does_not(
    house: House, python: Start
) -> None:
    statuses: list[int] = []

    async def supervise() -> None:
        while True:
            worker = await python(WITH_TRIAL)
            statuses.append((await worker.ended(within_s=BLOCKED_WITHIN_S)).status)

    supervising = asyncio.create_task(supervise())
    neighbours = await house.submit(2, input='{"sleep_s": 8}', max_attempts=2)
    await house.until(neighbours, {"running"}, within_s=START_S)
    [blocking] = await house.submit(1, kind="trial", stage="act", input='{"block_s": 600.0}', max_attempts=25)
    rows = await house.until([*neighbours, blocking], within_s=BLOCKED_WITHIN_S)
    supervising.cancel()
    assert set(statuses) == {os.EX_SOFTWARE}
    assert len(statuses) >= SUSPECTED + 2
    assert [(row["state"], row["attempt"]) for row in rows] == [("succeeded", 1)] * 2 + [("failed", 1)]
    assert json.loads(rows[-1]["error"])["code"] == "worker_killed"


@pytest.mark.usefixtures("settings")
async def test_a_worker_whose_consumer_is_stuck_ends_in_order_and_another_does_the_work(
    house: House, python: Start
) -> None:
    worker = await python(PAUSED)
    await worker.said("worker.started")
    ids = await house.submit(5)
    ended = await worker.ended()
    assert ended.status == os.EX_SOFTWARE
    assert '"event":"worker.stuck"' in ended.log
    assert '"reason":"consumer"' in ended.log
    assert '"event":"worker.draining"' in ended.log
    assert "process.end_hangs" not in ended.log
    await python(WORKER)
    rows = await house.until(ids, within_s=START_S)
    assert {(row["state"], row["attempt"]) for row in rows} == {("succeeded", 1)}


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_a_consume_loop_that_meets_a_defect_ends_the_process(
    house: House, python: Start, database_url: str
) -> None:
    worker = await python(WORKER)
    await worker.said("worker.started")
    await execute(database_url, "ALTER TABLE job RENAME TO elsewhere")
    await publish(house.broker, "welip.noop.run.interactive", [stale()], spread=1)
    ended = await worker.ended()
    assert ended.status == 1
    assert "UndefinedTableError" in ended.log


@pytest.mark.kafka
@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("kafka", ["apache"], indirect=True)
async def test_a_relay_that_meets_a_defect_while_kafka_is_down_ends_the_process(
    house: House, python: Start, database_url: str, kafka_broker: KafkaServer
) -> None:
    worker = await python(WORKER)
    await worker.said("worker.started")
    await asyncio.to_thread(kafka_broker.stop)
    try:
        await execute(database_url, "ALTER TABLE outbox RENAME TO elsewhere")
        ended = await worker.ended(within_s=START_S)
    finally:
        await asyncio.to_thread(kafka_broker.start)
    assert ended.status == 1
    assert '"event":"agent.defect"' in ended.log
    assert "UndefinedTableError" in ended.log
    assert "process.end_hangs" not in ended.log


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_a_gateway_whose_relay_meets_a_defect_ends(
    house: House, python: Start, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WELIP_GATEWAY_PORT", str(free_port()))
    gateway = await python(GATEWAY)
    await gateway.said("rescue.summoned_all")
    await execute(database_url, "ALTER TABLE outbox RENAME TO elsewhere")
    ended = await gateway.ended()
    assert ended.status == os.EX_SOFTWARE
    assert '"event":"agent.defect"' in ended.log
    assert '"event":"gateway.stopped"' in ended.log


async def test_a_stage_that_keeps_pythons_own_lock_does_not_keep_the_process(python: Start) -> None:
    ended = await (await python(HOLDS_PYTHONS_LOCK)).ended()
    assert ended.status == 1
    assert "Timeout (0:00:01" in ended.log


async def test_an_end_that_hangs_is_ended_at_once(python: Start) -> None:
    ended = await (await python(DOES_NOT_STOP)).ended()
    assert ended.status == os.EX_SOFTWARE
    assert "process.end_hangs" in ended.log
    assert "most recent call first" in ended.log
