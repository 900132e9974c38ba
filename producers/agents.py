"""The agents that put work onto topics, as one unit: in the gateway's process, or in a separate one."""

import asyncio
import contextlib
import time
from functools import partial
from types import TracebackType
from typing import Final, Protocol, Self

import structlog
from faststream.kafka import KafkaBroker

from infra.kafka.members import dismiss
from infra.kafka.topics import ensure_topics_patiently
from infra.postgres.database import Database
from infra.settings import KafkaSettings, RelaySettings, RescueSettings
from producers.aliases import AliasKeeper
from producers.dispatcher import Dispatcher
from producers.garbage import Garbage
from producers.relay import Relay
from producers.releases import Limits
from producers.rescue import Rescuer
from producers.retention import Retention
from producers.tracking import TrackingSender
from schemas.errors import DependencyUnavailable
from schemas.kinds.registry import routes
from schemas.models import WITHOUT_MODELS, Models

log = structlog.get_logger(__name__)

AHEAD: Final = 8
"""Bulk jobs that are summoned ahead for each partition of a topic, at least, unless the settings say how many."""

SILENT_S: Final = 120.0
"""No round takes this long: publishing, statements and waits for a connection are limited to 30 s each."""


class Wake(Protocol):
    """How writers announce what they wrote: `Agents.wake`."""

    def __call__(self, *, bulk: bool = False) -> None:
        """Messages are in the outbox. `bulk`: jobs may have come that are held, too."""


class Agents:
    """Relay, dispatcher, rescuer (which also queues due retries), aliases, retention, garbage, the sender of figures.

    `async with` starts and stops them. They wait for Kafka in the background; meanwhile work can be accepted, because
    the outbox keeps it. `connected`: the broker is started already.
    """

    def __init__(
        self,
        database: Database,
        broker: KafkaBroker,
        *,
        kafka: KafkaSettings,
        relay: RelaySettings,
        rescue: RescueSettings | None,
        retention: Retention | None = None,
        sender: TrackingSender | None = None,
        connected: bool = False,
        models: Models = WITHOUT_MODELS,
    ) -> None:
        self._database = database
        self._broker = broker
        self._kafka = kafka
        self._connected = connected
        self._models = models
        self.relay = Relay(database, broker, relay, kafka, models, wake_dispatcher=self._wake_dispatcher)
        limits = Limits(relay.tenant_at_once, relay.model_at_once, relay.key_at_once)
        window = relay.window or AHEAD * kafka.partitions
        self._dispatcher = Dispatcher(database, self.relay.wake, window=window, limits=limits)
        groups = {route.group for route in routes(models)}
        dismissing = None if kafka.embedded else partial(dismiss, kafka, groups)
        self.rescuer = Rescuer(database, rescue, self.relay.wake, dismissing) if rescue is not None else None
        self.aliases = AliasKeeper(database, models, self.relay.wake) if rescue is not None else None
        self._retention = retention
        self._sender = sender
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._relay(), name="relay"),
            asyncio.create_task(self._dispatch(), name="dispatcher"),
        ]
        if self.rescuer is not None:
            self._tasks.append(asyncio.create_task(self._rescue(self.rescuer), name="rescuer"))
        if self.aliases is not None:
            self._tasks.append(asyncio.create_task(self._keep(self.aliases), name="aliases"))
        if self._retention is not None:
            self._tasks.append(asyncio.create_task(self._retain(self._retention), name="retention"))
            self._tasks.append(asyncio.create_task(self._collect(self._retention.garbage), name="garbage"))
        if self._sender is not None:
            self._tasks.append(asyncio.create_task(self._track(self._sender), name="sender"))
        for task in self._tasks:
            task.add_done_callback(_tell_defect)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sender is not None:
            await self._sender.close()
        with contextlib.suppress(Exception):  # aiokafka's stop may fail while the broker is down; nothing is buffered
            await asyncio.wait_for(self._broker.stop(), 5)

    def wake(self, *, bulk: bool = False) -> None:
        """Announce that the outbox has messages. `bulk`: that jobs may have come that are held, too."""
        self.relay.wake()
        if bulk:
            self._dispatcher.hurry()

    async def join(self) -> None:
        """Wait until an agent ends, which only a defect causes; raises what ended it."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    @property
    def ended(self) -> bool:
        """Whether one of them ended, which only a defect causes."""
        return any(task.done() for task in self._tasks)

    @property
    def silent(self) -> bool:
        """Whether one of them hangs in a round. One that still waits for Kafka or Postgres has not begun any."""
        agents = (self.relay, self._dispatcher, self.rescuer)
        rounds = [agent.turned_at for agent in agents if agent is not None]
        return any(at is not None and time.monotonic() - at > SILENT_S for at in rounds)

    async def _relay(self) -> None:
        if not self._connected:
            await connect_patiently(self._broker, self._kafka, self._models)
        await self._database.opened.wait()
        if self.rescuer is not None and self._kafka.embedded:
            await self._summon_all()
        await self.relay.run()

    async def _dispatch(self) -> None:
        await self._database.opened.wait()
        await self._dispatcher.run()

    def _wake_dispatcher(self) -> None:
        self._dispatcher.wake()

    async def _rescue(self, rescuer: Rescuer) -> None:
        await self._database.opened.wait()
        await rescuer.run()

    async def _keep(self, keeper: AliasKeeper) -> None:
        await self._database.opened.wait()
        await keeper.run()

    async def _retain(self, retention: Retention) -> None:
        await self._database.opened.wait()
        await retention.run()

    async def _collect(self, garbage: Garbage) -> None:
        await self._database.opened.wait()
        await garbage.run()

    async def _track(self, sender: TrackingSender) -> None:
        await self._database.opened.wait()
        await sender.run()

    async def _summon_all(self) -> None:
        assert self.rescuer is not None
        while True:
            try:
                log.info("rescue.summoned_all", jobs=await self.rescuer.summon_all())
                return
            except DependencyUnavailable as error:
                log.warning("rescue.away", error=error.message)
                await asyncio.sleep(1)


def _tell_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("agent.defect", agent=task.get_name(), exc_info=error)


async def connect_patiently(broker: KafkaBroker, settings: KafkaSettings, models: Models = WITHOUT_MODELS) -> None:
    """Make the topics that are missing and start the broker; keep trying, and log it, until Kafka answers."""
    if not settings.embedded:
        made = await ensure_topics_patiently(settings, {route.topic: route.group for route in routes(models)})
        if made:
            log.info("kafka.topics_made", topics=len(made))
    while True:
        try:
            await broker.start()
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, Kafka is not usable yet
            log.warning("kafka.away", error=repr(error), retry_in_s=1)
            with contextlib.suppress(Exception):
                await broker.stop()
            await asyncio.sleep(1)
