"""The relay: carries messages from the outbox to Kafka, at least once and in no promised order."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Final

import structlog
from faststream.kafka import KafkaBroker

from infra.kafka.broker import publish
from infra.kafka.topics import ensure_topics
from infra.metrics import RELAYED
from infra.postgres.database import Database
from infra.postgres.queries import outbox
from infra.settings import KafkaSettings, RelaySettings
from schemas.errors import DependencyUnavailable
from schemas.kinds.registry import routes, topic_of
from schemas.messages import Summons
from schemas.models import WITHOUT_MODELS, Models
from schemas.topics import Lane

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

LOOKS_EVERY_S: Final = 1.0


class Relay:
    """Takes a batch, publishes it, commits its deletion after Kafka's acknowledgement; then the next one.

    It sleeps when the outbox is empty and wakes by `wake()`, which every writer to the outbox in this process calls, or
    after `poll`. A `NOTIFY` on every submit would wake relays elsewhere too, but costs 39 % of submit throughput.

    Before it sleeps, and every second while it does not, it looks for held jobs too, and wakes the dispatcher when
    there are some.
    """

    def __init__(
        self,
        database: Database,
        broker: KafkaBroker,
        settings: RelaySettings,
        kafka: KafkaSettings,
        models: Models = WITHOUT_MODELS,
        *,
        wake_dispatcher: Callable[[], None] | None = None,
    ) -> None:
        self._database = database
        self._broker = broker
        self._settings = settings
        self._kafka = kafka
        self._wake_dispatcher = wake_dispatcher
        self._topics = {route.topic: route.group for route in routes(models)}
        self._woken = asyncio.Event()
        self._looked_at = 0.0
        self.turned_at: float | None = None
        """When the present round began, on the monotonic clock; None before the first."""

    def wake(self) -> None:
        """Announce that the outbox has messages."""
        self._woken.set()

    async def run(self) -> None:
        """Relay until cancelled. While Postgres or Kafka is away, the outbox keeps everything."""
        away = 0.0
        relayed = 0
        while True:
            self.turned_at = time.monotonic()
            likely = relayed == self._settings.batch or self._woken.is_set()
            likely = likely and self.turned_at - self._looked_at < LOOKS_EVERY_S
            self._woken.clear()
            try:
                relayed = await self.relay_batch() if likely or await self._anything() else 0
            except DependencyUnavailable as error:
                away = min(max(away * 2, 0.2), 5)
                log.warning("relay.away", error=error.message, retry_in_s=away)
                await asyncio.sleep(away)
                continue
            away = 0.0
            if relayed == 0 and not likely:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self._settings.poll.total_seconds())

    async def _anything(self) -> bool:
        """Whether the outbox has messages; tells the dispatcher if jobs are held."""
        self._looked_at = time.monotonic()
        async with self._database.connection() as connection:
            messages, held = await outbox.anything(connection)
        if held and self._wake_dispatcher is not None:
            self._wake_dispatcher()
        return messages

    async def relay_batch(self) -> int:
        """Publish one batch; returns how many messages. When it raises `DependencyUnavailable`, all are still there."""
        async with self._database.unit_of_work() as connection:
            rows = await outbox.take(connection, self._settings.batch)
            if rows:
                try:
                    await self._publish(rows)
                except DependencyUnavailable:
                    # A topic may have been deleted: make it again before the next try.
                    if not self._kafka.embedded:
                        await ensure_topics(self._kafka, self._topics)
                    raise
        return len(rows)

    async def _publish(self, rows: "list[asyncpg.Record]") -> None:
        def topic(row: "asyncpg.Record") -> str:
            found = topic_of(row["kind"], row["stage"], row["lane"], row["model"])
            if row["model"] is None or found in self._topics:
                return found
            # The model is gone: whoever reads the topic without a model's name says so.
            return topic_of(row["kind"], row["stage"], row["lane"])

        await asyncio.gather(
            *(
                publish(
                    self._broker,
                    name,
                    [Summons.model_construct(**{**row, "lane": Lane(row["lane"])}) for row in group],
                    spread=1 if self._kafka.embedded else self._kafka.partitions,
                )
                for name, group in ((n, list(g)) for n, g in groupby(sorted(rows, key=topic), key=topic))
            )
        )
        RELAYED.inc(len(rows))
