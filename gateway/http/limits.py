"""How much one tenant may ask for: submissions a second, jobs that wait, bytes of files. Each gateway counts its own.

What Postgres holds is counted in the background and remembered, so a submission never waits for a count; a limit is
passed by what comes in between.
"""

import asyncio
import math
import time
from typing import Final

import structlog
from aiolimiter import AsyncLimiter

from gateway.http.errors import LimitReached
from infra.postgres.database import Database
from infra.postgres.queries import limits
from infra.settings import LimitSettings
from schemas.errors import DependencyUnavailable

log = structlog.get_logger(__name__)

COUNT_EVERY_S: Final = 2.0
AT_MOST: Final = 1 / 20
"""Of a connection's time is spent on counting, however many jobs wait."""
STORED_FOR_S: Final = 30.0
"""How long a tenant's stored bytes are remembered; this gateway's own uploads are added at once."""


class RateLimited(LimitReached):
    """Submissions come faster than a tenant may send them."""

    code = "rate_limited"


class QueueFull(LimitReached):
    """As many of the tenant's jobs wait as may."""

    code = "queue_full"
    retry_after_s = 5


class StorageFull(LimitReached):
    """The tenant's files have as many bytes as they may; room comes when files are removed."""

    code = "storage_full"
    retry_after_s = 3600


class Limits:
    """Asked before something is accepted. `run()` counts in the background while the gateway serves."""

    def __init__(self, database: Database, settings: LimitSettings) -> None:
        self._database = database
        self._settings = settings
        self._rates: dict[str, AsyncLimiter] = {}
        self._full: dict[str, int] = {}
        self._stored: dict[str, tuple[int, float]] = {}

    async def run(self) -> None:
        """Count the jobs that wait, until cancelled; while Postgres is away, what was counted last holds."""
        if not self._settings.waiting:
            return
        await self._database.opened.wait()
        while True:
            began = time.monotonic()
            try:
                async with self._database.connection() as connection:
                    self._full = await limits.full(connection, self._settings.waiting)
            except DependencyUnavailable as error:
                log.warning("limits.away", error=error.message)
            await asyncio.sleep(max(COUNT_EVERY_S, (time.monotonic() - began) / AT_MOST))

    async def submission(self, tenant: str) -> None:
        """Count one submission. Raises `RateLimited` or `QueueFull`, and then nothing was counted."""
        if tenant in self._full:
            raise QueueFull(
                f"{self._full[tenant]} jobs of yours wait, and at most {self._settings.waiting} may: let some be done,"
                " or cancel some"
            )
        if not self._settings.rate:
            return
        bucket = self._rates.get(tenant)
        if bucket is None:
            bucket = AsyncLimiter(self._settings.burst, self._settings.burst / self._settings.rate)
            self._rates[tenant] = bucket
        if not bucket.has_capacity():
            limited = RateLimited(f"more than {self._settings.rate:g} submissions a second: slow down")
            limited.retry_after_s = math.ceil(1 / self._settings.rate)
            raise limited
        await bucket.acquire()

    async def room(self, tenant: str) -> int | None:
        """How many bytes of files the tenant may still upload; None: no limit. Raises `StorageFull`."""
        limit = self._settings.file_bytes
        if not limit:
            return None
        stored, counted_at = self._stored.get(tenant, (0, float("-inf")))
        if time.monotonic() - counted_at > STORED_FOR_S:
            async with self._database.connection() as connection:
                stored = await limits.stored_bytes(connection, tenant)
            self._stored[tenant] = (stored, time.monotonic())
        if stored >= limit:
            raise self.storage_full()
        return limit - stored

    def uploaded(self, tenant: str, size: int) -> None:
        """Count a file of `size` bytes that was stored; a negative size: one that was removed."""
        if tenant in self._stored:
            stored, counted_at = self._stored[tenant]
            self._stored[tenant] = (stored + size, counted_at)

    def storage_full(self) -> StorageFull:
        """What an upload that does not fit is refused with."""
        return StorageFull(f"your files may have {self._settings.file_bytes} bytes together: remove some")
