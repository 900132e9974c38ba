"""The deliverer: claims due deliveries in Postgres, sends them, records the results. Any number run side by side."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from consumers.claims import whole
from consumers.webhooks.destinations import Destinations
from consumers.webhooks.schedule import retry_in
from infra.grouping import Grouper
from infra.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_IN_FLIGHT, WEBHOOK_PENDING, WEBHOOK_SECONDS
from infra.patience import patiently
from infra.postgres.database import Database
from infra.postgres.queries import deliveries
from infra.postgres.queries.deliveries import Attempt, Recorded
from infra.settings import WebhookSettings
from infra.webhooks.body import body_of
from infra.webhooks.sender import Answer, Sender
from schemas.errors import DependencyUnavailable
from schemas.ids import shown
from schemas.webhooks import DeliveryState

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

LEASE_MARGIN: Final = timedelta(seconds=15)
"""A lease exceeds an attempt by this, the time to record it."""
CONTENDED_S: Final = 0.05
"""The pause after another deliverer was faster."""
TIDY_S: Final = 15.0
"""Between two rounds of what is not urgent."""
PAGE: Final = 1000
COUNTED: Final = 100_000
"""Up to which number waiting deliveries are counted."""
GONE: Final = 410


class Deliverer:
    """Sends what is due, never more than `concurrency` at once nor `per_destination` to one destination."""

    def __init__(self, database: Database, settings: WebhookSettings, *, sender: Sender | None = None) -> None:
        self._database = database
        self._settings = settings
        self._sender = sender or Sender(settings)
        self._lease_s = (settings.timeout + LEASE_MARGIN).total_seconds()
        self._destinations = Destinations(settings.per_destination, settings.concurrency)
        self._under_way: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._disabled = asyncio.Event()
        self._records: Grouper[Attempt, Recorded] = Grouper(
            self._flush, limit=200, fatal=(DependencyUnavailable,)
        )  # fmt: skip

    async def run(self) -> None:
        """Deliver until cancelled; keep trying while Postgres is away. Raises the defect that ends it."""
        loops = [asyncio.create_task(self._deliver_due()), asyncio.create_task(self._tidy())]
        try:
            await asyncio.gather(*loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def drain(self, limit_s: float) -> None:
        """Let attempts under way end and be recorded for `limit_s` seconds; the rest is sent again after its lease."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=limit_s)
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._sender.close()

    async def _deliver_due(self) -> None:
        while True:
            self._changed.clear()
            wait_s = await patiently(self._take, event="webhook.away", first_s=0.1, longest_s=2)
            await _within(wait_s, self._changed)

    async def _take(self) -> float:
        """Begin what is due; returns the seconds to wait before the next look, unless something changes."""
        free = self._settings.concurrency - len(self._under_way)
        poll = self._settings.poll.total_seconds()
        if free <= 0:
            return poll
        rooms = self._destinations.rooms()
        async with self._database.connection() as connection:
            due_s = await deliveries.next_due(connection, without=[name for name, room in rooms.items() if not room])
        if due_s is not None and due_s <= 0:
            return 0.0 if await whole(self._claim(rooms, free)) else CONTENDED_S
        waits = (poll, due_s, self._destinations.rest_s())
        return min(wait for wait in waits if wait is not None)

    async def _claim(self, rooms: dict[str, int], free: int) -> bool:
        """Whether anything was there to begin."""
        async with self._database.connection() as connection:
            rows = await deliveries.claim(
                connection, rooms=rooms, room=self._settings.per_destination, limit=free, lease_s=self._lease_s
            )
        for row in rows:
            self._destinations.began(row["destination"])
            WEBHOOK_IN_FLIGHT.inc()
            task = asyncio.create_task(self._deliver(row))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        return bool(rows)

    async def _deliver(self, row: "asyncpg.Record") -> None:
        """One attempt and its record."""
        ok, wish = False, None
        try:
            body = body_of(row["type"], row["created_at"], row["data"], public_url=self._settings.public_url)
            signing = [secret for secret in (row["secret"], row["previous_secret"]) if secret is not None]
            answer = await self._sender.send(row["destination"], row["url"], shown("evt", row["id"]), body, signing)
            ok, wish = answer.ok, answer.retry_after_s
            WEBHOOK_SECONDS.observe(answer.ms / 1000)
            await self._record(row, answer)
        finally:
            self._destinations.ended(row["destination"], ok=ok, retry_after_s=wish)
            WEBHOOK_IN_FLIGHT.dec()

    async def _record(self, row: "asyncpg.Record", answer: Answer) -> None:
        pause = None if answer.status == GONE else retry_in(row["attempts"], answer.retry_after_s)
        if answer.ok:
            state = DeliveryState.DELIVERED
        else:
            state = DeliveryState.FAILED if pause is None else DeliveryState.PENDING
        attempt = Attempt(
            id=row["id"],
            lease_until=row["lease_until"],
            state=state,
            retry_in_s=pause or 0.0,
            status=answer.status,
            error=answer.error,
            answer=answer.text,
            ms=answer.ms,
        )
        recorded = await patiently(
            lambda: self._records.call(attempt), event="webhook.record_away", first_s=0.1, longest_s=2
        )
        outcome = "retry" if state is DeliveryState.PENDING else state.value
        # The destination, not the URL: an address may hold a secret of its receiver.
        about = {"delivery": shown("evt", row["id"]), "destination": row["destination"], "attempt": row["attempts"]}
        if not recorded.counted:
            outcome = "late"
            log.warning("webhook.late", **about, status=answer.status)
        elif answer.ok:
            log.info("webhook.delivered", **about, ms=answer.ms)
        else:
            why = {"status": answer.status, "error": answer.error, "detail": answer.detail}
            log.warning("webhook.failed", **about, **why, retry_in_s=pause)
        WEBHOOK_ATTEMPTS.labels(outcome).inc()
        if recorded.disabled is not None:
            log.warning("webhook.endpoint_disabled", endpoint=row["destination"], reason=recorded.disabled)
            self._disabled.set()

    async def _flush(self, group: Sequence[Attempt]) -> Sequence[Recorded]:
        async with self._database.connection() as connection:
            return await deliveries.record(connection, group, lease_s=self._lease_s)

    async def _tidy(self) -> None:
        """What is not urgent: deliveries of endpoints that were disabled, the gauge, what was not used for long."""
        while True:
            self._disabled.clear()
            with contextlib.suppress(DependencyUnavailable):
                async with self._database.connection() as connection:
                    while await deliveries.end_disabled(connection, PAGE) == PAGE:
                        pass
                    WEBHOOK_PENDING.set(await deliveries.pending(connection, COUNTED))
            self._destinations.forget()
            await self._sender.close_idle()
            await _within(TIDY_S, self._disabled)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._changed.set()
        if not task.cancelled() and task.exception() is not None:
            # The delivery is safe: it is due again when its lease ends.
            log.error("webhook.defect", exc_info=task.exception())


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Until the event, for `seconds` at most."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
