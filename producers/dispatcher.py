"""The dispatcher: releases held bulk work to the outbox, as workers claim what was released before."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from infra.metrics import RELEASED
from infra.postgres.database import Database
from infra.postgres.queries import dispatch
from producers.releases import NO_LIMITS, Limits, Releases
from schemas.errors import DependencyUnavailable

log = structlog.get_logger(__name__)

EVERY_S: Final = 0.1
"""Between two rounds while they release much."""
STANDBY_S: Final = 0.5
"""Between two rounds of a dispatcher that finds little to release, at most: jobs are long, or another one leads."""
IDLE_S: Final = 1.0
"""How long a dispatcher sleeps while nothing is held and nobody wakes it, at most."""
SHARE_OF_TIME: Final = 0.25
"""Rounds that take long, because very many parents have work, are made less often, to take no more of the time."""
COUNTED: Final = 1024
"""Held jobs of a parent that are counted, and so released in one round, at most."""


class Dispatcher:
    """Makes rounds: looks at who has work and what workers have left, and releases what is next.

    Any number may run; one makes a round at a time, and who finds little to do looks less often. `window`: how many
    jobs of a topic are summoned ahead of the workers at least.
    """

    def __init__(
        self, database: Database, wake_relay: Callable[[], None], *, window: int, limits: Limits = NO_LIMITS
    ) -> None:
        self._database = database
        self._wake_relay = wake_relay
        self._window = window
        self._releases = Releases(window, limits)
        self._limited = limits.tenant is not None or limits.model is not None
        self._woken = asyncio.Event()
        self.turned_at: float | None = None
        """When the present round began, on the monotonic clock; None before the first."""

    def wake(self) -> None:
        """Announce that jobs are held."""
        self._woken.set()

    async def run(self) -> None:
        """Dispatch until cancelled. While Postgres is away, everything stays held."""
        pause = EVERY_S
        while True:
            began = self.turned_at = time.monotonic()
            self._woken.clear()
            try:
                released = await self.round()
            except DependencyUnavailable as error:
                log.warning("dispatch.away", error=error.message)
                await asyncio.sleep(1)
                continue
            if released is None:
                pause = EVERY_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), IDLE_S)
            else:
                pause = EVERY_S if released > self._window // 4 else min(pause * 2, STANDBY_S)
                await asyncio.sleep(max(pause, (time.monotonic() - began) / SHARE_OF_TIME))

    async def round(self) -> int | None:
        """Release what is next; how many jobs, None when nothing is held at all."""
        async with self._database.unit_of_work() as connection:
            if not await dispatch.lead(connection):
                return 0
            shares = await dispatch.shares(connection, COUNTED)
            limited = (shares and self._limited) or any(share.key for share in shares)
            running = await dispatch.running(connection) if limited else []
            wanted = self._releases.next(shares, datetime.now(UTC), running)
            released = await dispatch.release(connection, wanted) if wanted else 0
        if released:
            RELEASED.inc(released)
            self._wake_relay()
        return released if any(share.held for share in shares) else None
