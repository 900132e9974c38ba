"""WeLIP on one database, as an operator runs it: a gateway, relays, and workers that a supervisor starts again."""

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import asyncpg
import httpx

from infra.local.child import free_port
from infra.postgres.database import AWAY
from tests.e2e.processes import Process
from tests.faults import journal
from tests.faults.journal import Journal
from tests.faults.load import Load
from tests.faults.probe import POOL

T = TypeVar("T")
LEASE_S: Final = 5.0
PARTITIONS: Final = 12
QUICK: Final = {"WELIP_WORKER_LEASE": f"{LEASE_S}", "WELIP_WORKER_HEARTBEAT": "0.5"}


class NotInTime(AssertionError):
    """Something that must happen did not."""


async def eventually(found: Callable[[], T], what: str, *, within_s: float = 120) -> T:
    """The first truthy answer of `found`. Raises `NotInTime`."""
    deadline = time.monotonic() + within_s
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(0.02)
    return answer


class Part(Process):
    """One process of WeLIP, which ends with us however we end."""

    def __init__(self, log: Path, *command: str, **settings: str) -> None:
        supervised = ("-m", "infra.local.supervised", str(os.getpid()), "tests.faults.process")
        super().__init__([sys.executable, *supervised, *command], log, **settings)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self._running()

    def says(self, event: str) -> int:
        """How often its log tells of an event."""
        return len(re.findall(rf'"event":"{re.escape(event)}"', self.log))

    def kill(self) -> None:
        """As a power cut does."""
        self.popen.kill()
        self.popen.wait()


class Worker:
    """A place for one worker process: when one dies, the supervisor puts another there, unless it is `retired`."""

    def __init__(self, pools: Sequence[str], settings: dict[str, str]) -> None:
        self.pools = pools
        self.settings = settings
        self.part: Part | None = None
        self.retired = False

    @property
    def now(self) -> Part:
        assert self.part is not None
        return self.part

    @property
    def ready(self) -> bool:
        return self.now.says("worker.started") > 0


class Site:
    """`async with`: the gateway answers. `deaths`: when a process died, on the machine's monotonic clock."""

    def __init__(self, folder: Path, database: str, kafka: str, *, key: str | None = None, **settings: str) -> None:
        """`key`: of the tenant that the load is of; None: whoever asks is the one tenant."""
        folder.mkdir()
        self.folder = folder
        self.database = database
        self.kafka = kafka
        self.blobs = folder / "blobs"
        self.journal = Journal(folder / "journal")
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.load = Load(self.url, key)
        self.deaths: dict[int, float] = {}
        self.frozen: set[int] = set()
        self.workers: list[Worker] = []
        self.parts: list[Part] = []
        self.settings = {
            "WELIP_POSTGRES_URL": database,
            "WELIP_KAFKA_URL": kafka,
            "WELIP_KAFKA_PARTITIONS": f"{PARTITIONS}",
            "WELIP_BLOBS_URL": f"file://{self.blobs}",
            "WELIP_AUTH": "off" if key is None else "on",
            "WELIP_GATEWAY_PORT": str(port),
            "WELIP_WORKER_WARM": "false",
            "WELIP_WORKER_CONCURRENCY": "8",
            journal.VARIABLE: str(self.journal.path),
            **QUICK,
            **settings,
        }
        self._numbers = count(1)
        self._exit = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exit.enter_async_context(self.load)
        self._exit.push_async_callback(self._stop)
        supervisor = asyncio.create_task(self._supervise())
        self._exit.callback(supervisor.cancel)
        try:
            self.part("gateway")
            await self.until_answered()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    def part(self, *command: str, **settings: str) -> Part:
        """Start a process."""
        name = f"{command[0]}-{next(self._numbers)}"
        mine = {"WELIP_INDEX_URL": f"edge://{self.folder / 'index' / name}", **self.settings, **settings}
        part = Part(self.folder / f"{name}.log", *command, **mine)
        part.__enter__()
        self.parts.append(part)
        return part

    async def until_answered(self) -> None:
        async with httpx.AsyncClient() as http:
            async with asyncio.timeout(120):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (await http.get(f"{self.url}/readyz", timeout=10)).status_code == 200:
                            return
                    await asyncio.sleep(0.05)

    def staff(self, number: int, *, pools: Sequence[str] = (POOL,), **settings: str) -> list[Worker]:
        """Start workers under supervision."""
        made = [Worker(pools, settings) for _ in range(number)]
        for worker in made:
            self._begin(worker)
        self.workers += made
        return made

    async def hire(self, number: int, *, pools: Sequence[str] = (POOL,), **settings: str) -> list[Worker]:
        """Start workers under supervision; returns when they consume."""
        made = self.staff(number, pools=pools, **settings)
        await eventually(lambda: all(worker.ready for worker in made), "the workers started")
        return made

    def busy(self, staff: list[Worker]) -> list[Worker]:
        """Those in mid-job."""
        return [worker for worker in staff if worker.now.running and self.journal.running(worker.now.pid)]

    def kill(self, worker: Worker) -> int:
        """kill -9; the process that died."""
        pid = worker.now.pid
        self.deaths[pid] = time.monotonic()
        worker.now.kill()
        return pid

    def logged(self, event: str, of: Part | None = None) -> int:
        """How often the processes told of an event."""
        return sum(part.says(event) for part in (self.parts if of is None else [of]))

    async def fetch(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Ask Postgres; while it is away, wait for it."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(*AWAY):
                    connection = await asyncpg.connect(self.database, timeout=5)
                    try:
                        return await connection.fetch(statement, *values)
                    finally:
                        await connection.close(timeout=5)
                await asyncio.sleep(0.1)

    async def until_row(self, statement: str, what: str, *, within_s: float) -> None:
        """Until a statement's only value is true."""
        deadline = time.monotonic() + within_s
        while not (await self.fetch(statement))[0][0]:
            if time.monotonic() > deadline:
                raise NotInTime(f"not within {within_s:g} s: {what}")
            await asyncio.sleep(0.1)

    def _begin(self, worker: Worker) -> None:
        worker.part = self.part("consumers", *(f"--pool={pool}" for pool in worker.pools), **worker.settings)

    async def _supervise(self) -> None:
        """A process that died is started again, as systemd or Kubernetes would."""
        while True:
            for worker in self.workers:
                if worker.part is not None and not worker.part.running:
                    self.deaths.setdefault(worker.part.pid, time.monotonic())
                    worker.part.popen.wait()
                    if worker.retired:
                        worker.part = None
                    else:
                        self._begin(worker)
            await asyncio.sleep(0.1)

    async def _stop(self) -> None:
        for part in self.parts:
            if part.running:
                part.popen.terminate()
        await asyncio.gather(*(asyncio.to_thread(part.__exit__, None, None, None) for part in self.parts))
