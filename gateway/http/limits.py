"""Limits one tenant: submissions per second, waiting jobs, open streams, bytes of files.

Each gateway counts its own submissions and streams. Waiting jobs, of all gateways, are counted in Postgres, in the
background: a submission never waits for a count, and submissions in between can exceed that limit. Bytes are reserved
before they are stored, and the sum is checked once more when a file is recorded. What jobs store counts too.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from aiolimiter import AsyncLimiter

from gateway.http.errors import LimitReached
from infra.postgres.database import Database
from infra.postgres.queries import limits, stored
from infra.settings import LimitSettings
from schemas.errors import DependencyUnavailable

log = structlog.get_logger(__name__)

COUNT_EVERY_S: Final = 2.0
AT_MOST: Final = 1 / 20
"""The share of a connection's time that is spent on counting, however many jobs wait."""
STORED_FOR_S: Final = 2.0
"""How long a tenant's stored bytes are remembered; this gateway's own uploads are added at once."""


class RateLimited(LimitReached):
    """Submissions come faster than a tenant may send them."""

    code = "rate_limited"


class QueueFull(LimitReached):
    """The tenant has the maximum of waiting jobs."""

    code = "queue_full"
    retry_after_s = 5


class TooManyStreams(LimitReached):
    """The tenant has the maximum of streams and waits open at this gateway."""

    code = "too_many_streams"


class StorageFull(LimitReached):
    """The tenant's files, and what its jobs store, have reached their limit of bytes. Removing some makes room."""

    code = "storage_full"
    retryable = False
    retry_after_s = 3600


class Limits:
    """Consulted before something is accepted. `run()` counts in the background while the gateway serves."""

    def __init__(self, database: Database, settings: LimitSettings) -> None:
        self._database = database
        self._settings = settings
        self._rates: dict[str, AsyncLimiter] = {}
        self._full: dict[str, int] = {}
        self._accounts: dict[str, _Account] = {}
        self._streams: Counter[str] = Counter()

    async def run(self) -> None:
        """Count waiting jobs until cancelled; while Postgres is away, the last count holds."""
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

    @contextmanager
    def stream(self, tenant: str) -> Iterator[None]:
        """Count a stream, or a wait, while it is open. Raises `TooManyStreams`."""
        if self._settings.streams and self._streams[tenant] >= self._settings.streams:
            raise TooManyStreams(
                f"{self._settings.streams} streams and waits of yours are open: close some, or have webhooks tell you"
            )
        self._streams[tenant] += 1
        try:
            yield
        finally:
            self._streams[tenant] -= 1
            if not self._streams[tenant]:
                del self._streams[tenant]

    @property
    def file_bytes(self) -> int:
        """How many bytes a tenant's files, and what its jobs store, may have in total; 0: no limit."""
        return self._settings.file_bytes

    @asynccontextmanager
    async def room(self, tenant: str) -> AsyncIterator["Room"]:
        """The reservation of one upload, released at the end unless it is kept.

        Raises `StorageFull` when there is no room.
        """
        if not self.file_bytes:
            yield Room(None, tenant)
            return
        account = self._accounts.setdefault(tenant, _Account())
        if time.monotonic() - account.counted_at > STORED_FOR_S:
            async with self._database.connection() as connection:
                account.stored = await stored.stored_bytes(connection, tenant)
            account.counted_at = time.monotonic()
        room = Room(self, tenant)
        room.take(0)
        try:
            yield room
        finally:
            room.end()

    def reserve(self, tenant: str, size: int) -> None:
        """Reserve bytes that are about to be stored. Raises `StorageFull` when there is no room for them."""
        account = self._accounts[tenant]
        held = account.stored + account.reserved
        if held + size > self.file_bytes or (not size and held >= self.file_bytes):
            raise self.storage_full()
        account.reserved += size

    def settle(self, tenant: str, size: int, *, stored: bool) -> None:
        """Settle a reservation: its bytes are now stored, or are released."""
        account = self._accounts[tenant]
        account.reserved -= size
        account.stored += size if stored else 0

    def removed(self, tenant: str, size: int) -> None:
        """Count a file of `size` bytes that was removed."""
        if tenant in self._accounts:
            self._accounts[tenant].stored -= size

    def storage_full(self) -> StorageFull:
        """The error for an upload that does not fit."""
        return StorageFull(
            f"your files and what your jobs store may have {self.file_bytes} bytes together: remove files, documents or"
            " collections"
        )


@dataclass(slots=True)
class _Account:
    """Bytes of a tenant: stored when they were counted, and reserved by uploads that are under way here."""

    stored: int = 0
    counted_at: float = float("-inf")
    reserved: int = 0


class Room:
    """What one upload has reserved, a piece at a time, each before it is stored."""

    def __init__(self, limits: Limits | None, tenant: str) -> None:
        self._limits = limits
        self._tenant = tenant
        self._taken = 0
        self._kept = False

    def take(self, size: int) -> None:
        """Reserve `size` bytes more. Raises `StorageFull`."""
        if self._limits is not None:
            self._limits.reserve(self._tenant, size)
            self._taken += size

    def keep(self) -> None:
        """The file is stored: its bytes now count for the tenant."""
        self._kept = True

    def end(self) -> None:
        """Settle what was reserved."""
        if self._limits is not None:
            self._limits.settle(self._tenant, self._taken, stored=self._kept)
