"""Endpoints, deliveries and deliverers on a test's own database."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import uuid_utils.compat as uuids

from consumers.webhooks.deliverer import Deliverer
from infra.postgres.database import Database
from infra.settings import WebhookSettings
from infra.webhooks.addresses import origin_of
from infra.webhooks.sender import Sender
from infra.webhooks.signing import new_secret
from schemas.ids import parsed
from schemas.webhooks import EVENTS
from tests.integration.jobs import Jobs

SETTINGS: Final = WebhookSettings(
    allow="127.0.0.1",
    timeout=timedelta(seconds=5),
    poll=timedelta(milliseconds=50),
    public_url="https://welip.example",
)

MANY: Final = """
INSERT INTO webhook_delivery (tenant, endpoint, destination, type, data, due_at)
SELECT 'default', $1::uuid, $1::text, 'job.succeeded', json_build_object('id', 'job_' || n), now() - interval '1 s'
FROM generate_series(1, $2::int) n
"""


class Outgoing:
    """What a test wants delivered, and the results."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.jobs = Jobs(database)

    async def endpoint(self, url: str, *, secret: str | None = None) -> UUID:
        """An endpoint of tenant `default` for all events."""
        made: UUID = uuids.uuid7()
        await self.jobs.fetch(
            "INSERT INTO webhook_endpoint (id, tenant, url, events, secret) VALUES ($1, 'default', $2, $3, $4)",
            made, url, list(EVENTS), secret or new_secret(),
        )  # fmt: skip
        return made

    async def tenants_secret(self) -> str:
        """A new secret of tenant `default`, for jobs' own receivers."""
        made = new_secret()
        await self.jobs.fetch("UPDATE tenant SET webhook_secret = $1 WHERE id = 'default'", made)
        return made

    async def end_a_job(self, **changes: Any) -> UUID:
        """A job that has ended, so that its receivers are to be told."""
        [job_id] = await self.jobs.submit(**changes)
        await self.jobs.end(job_id)
        return job_id

    async def end_a_job_told_to(self, url: str) -> UUID:
        """A job that has ended and names its own receiver."""
        return await self.end_a_job(
            webhook=json.dumps({"url": url, "origin": origin_of(url), "events": ["job.succeeded"]})
        )

    async def many(self, endpoint: UUID, count: int) -> None:
        """Due deliveries without their jobs."""
        await self.jobs.fetch(MANY, endpoint, count)

    async def rows(self, where: str = "true", *arguments: object) -> list[asyncpg.Record]:
        """The deliveries, oldest first."""
        return await self.jobs.fetch(f"SELECT * FROM webhook_delivery WHERE {where} ORDER BY id", *arguments)

    async def row(self, id: str) -> asyncpg.Record:
        """The delivery of a `webhook-id`."""
        [found] = await self.rows("id = $1", parsed("evt", id))
        return found

    async def log(self, id: str) -> list[asyncpg.Record]:
        """The attempts of a delivery."""
        return await self.jobs.fetch(
            "SELECT * FROM webhook_attempt WHERE delivery = $1 ORDER BY attempt", parsed("evt", id)
        )

    async def endpoint_row(self, id: UUID) -> asyncpg.Record:
        [found] = await self.jobs.fetch("SELECT * FROM webhook_endpoint WHERE id = $1", id)
        return found

    async def hasten(self, where: str = "true", *arguments: object) -> None:
        """Make waiting deliveries due now."""
        await self.jobs.fetch(
            f"UPDATE webhook_delivery SET due_at = now() WHERE state = 'pending' AND {where}", *arguments
        )

    async def until(self, met: Callable[[], Awaitable[bool]], *, within_s: float = 60) -> None:
        """Wait until the condition is met."""
        try:
            async with asyncio.timeout(within_s):
                while not await met():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            states = [(row["destination"], row["state"], row["attempts"]) for row in await self.rows()]
            raise AssertionError(f"not met after {within_s:g} s: {states[:20]}") from None

    async def until_state(self, state: str, count: int, *, within_s: float = 60) -> list[asyncpg.Record]:
        """Wait until this many deliveries are in the state; returns them."""

        async def met() -> bool:
            return len(await self.rows("state = $1", state)) == count

        await self.until(met, within_s=within_s)
        return await self.rows("state = $1", state)

    @asynccontextmanager
    async def deliverer(self, sender: Sender | None = None, **changes: Any) -> AsyncIterator[Deliverer]:
        """A running deliverer, which drains in the end. `changes` replace its settings."""
        made = Deliverer(self.database, SETTINGS.model_copy(update=changes), sender=sender)
        running = asyncio.create_task(made.run())
        try:
            yield made
            assert not running.done(), running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await made.drain(2)
