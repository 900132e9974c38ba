"""WeLIP without its HTTP side in one process: relay, rescuer, and workers with short leases that can be killed."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import count
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import asyncpg

from consumers.completions import Completions
from consumers.executor import Executor
from consumers.heartbeat import Heartbeat
from consumers.held import HeldJobs
from consumers.stages.ports import ChildSummary
from consumers.subscriptions import Consumers, subscriptions
from consumers.transcripts import Transcripts
from infra.files import PublishedFiles
from infra.kafka.broker import kafka_broker
from infra.postgres.children import PostgresChildren
from infra.postgres.database import Database
from infra.settings import KafkaSettings, PostgresSettings, RelaySettings, RescueSettings, WorkerSettings
from producers.agents import Agents, connect_patiently
from schemas.kinds.registry import Route, routes
from schemas.lifecycle import TERMINAL
from schemas.topics import Lane
from tests.integration.jobs import Jobs
from tests.unit.ports_in_memory import World

LEASE_S: Final = 4.0
HEARTBEAT_S: Final = 0.3
RELAY = RelaySettings(poll=timedelta(milliseconds=20), batch=500)
RESCUE = RescueSettings(every=timedelta(milliseconds=100), unclaimed=timedelta(seconds=1), gone=timedelta(seconds=60))


def tried_routes(*lanes: Lane) -> list[Route]:
    """The topics that tests use: fewer consumers start faster."""
    return [route for route in routes() if route.kind in ("noop", "trial", "formerly") and route.lane in lanes]


class Worker:
    """What `consumers/app.py` wires up, with access to the parts that tests need."""

    def __init__(self, database: Database, postgres: PostgresSettings, kafka: KafkaSettings, name: str, **given: Any):
        short = {"lease": timedelta(seconds=LEASE_S), "heartbeat": timedelta(seconds=HEARTBEAT_S)}
        settings = WorkerSettings.model_validate({**short, **given})
        self.name = name
        self.world = World()
        self.held = HeldJobs()
        self._kafka = kafka
        self._heartbeat = Heartbeat(self.held, postgres, settings, worker_name=name)
        self._broker = kafka_broker(kafka, client_id=name)
        self._agents = Agents(database, self._broker, kafka=kafka, relay=RELAY, rescue=None, connected=True)
        self._completions = Completions(database, self._agents.wake, worker=name)
        lanes = Lane if settings.shared_slots else [Lane.INTERACTIVE]
        ports = self.world.ports
        ports.children = PostgresChildren(database, ChildSummary)
        ports.file_store = PublishedFiles(database, ports.blobs, name)
        self.executor = Executor(database, self._completions, self.held, ports, Transcripts(database))
        self.consumers = Consumers(
            self.executor,
            subscriptions(tried_routes(*lanes), embedded=kafka.embedded, rooms={}),
            kafka=kafka,
            worker=settings,
            worker_name=name,
            client_id=name,
        )
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        await connect_patiently(self._broker, self._kafka)
        self._heartbeat.start()
        await self._agents.__aenter__()
        self._running = asyncio.create_task(self.consumers.run())
        await self.consumers.all_joined.wait()
        return self

    async def stop(self, drain_s: float = 0.0) -> None:
        """Stop as on SIGTERM."""
        if self._running is None:
            return
        self._running.cancel()
        await self.consumers.drain(drain_s)
        await self._end()

    async def die(self) -> None:
        """Die as in a power cut: from now on nothing is recorded and no lease is renewed."""
        self._heartbeat.stop()
        tries = list(self.consumers._tries)
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
        assert self._running is not None
        self._running.cancel()
        await self._end()

    async def _end(self) -> None:
        assert self._running is not None
        await asyncio.gather(self._running, return_exceptions=True)
        await self.consumers.leave()
        await self._completions.close()
        await self._agents.__aexit__(None, None, None)
        self._heartbeat.stop()
        self._running = None


class House:
    """An async context manager that starts relay and rescuer, and in the end stops them and every worker."""

    def __init__(self, database: Database, postgres: PostgresSettings, kafka: KafkaSettings) -> None:
        self.database = database
        self.postgres = postgres
        self.kafka = kafka
        self.jobs = Jobs(database)
        self.broker = kafka_broker(kafka, client_id="agents")
        self.agents = Agents(database, self.broker, kafka=kafka, relay=RELAY, rescue=RESCUE)
        self._names = count(1)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self.agents)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def worker(self, concurrency: int = 16, **settings: Any) -> Worker:
        """Start another worker, which consumes."""
        name = f"worker-{next(self._names)}"
        worker = Worker(self.database, self.postgres, self.kafka, name, concurrency=concurrency, **settings)
        self._exits.push_async_callback(worker.stop)
        return await worker.start()

    async def submit(self, count: int = 1, **changes: Any) -> list[UUID]:
        """Submit jobs and wake the relay, as the gateway does."""
        ids = await self.jobs.submit(count, **changes)
        self.agents.relay.wake()
        return ids

    async def until(
        self, ids: Sequence[UUID], states: frozenset[str] | set[str] = TERMINAL, *, within_s: float = 120
    ) -> list[asyncpg.Record]:
        """The rows of the jobs as soon as all are in one of `states`; fails with their states at the deadline."""
        rows: list[asyncpg.Record] = []
        try:
            async with asyncio.timeout(within_s):
                while not rows or any(row["state"] not in states for row in rows):
                    await asyncio.sleep(0.02)
                    rows = await self.jobs.rows(ids)
        except TimeoutError:
            found = [(row["state"], row["epoch"], row["attempt"], row["error"]) for row in rows]
            raise AssertionError(f"not all in {set(states)} after {within_s:g} s: {found[:10]}") from None
        return rows
