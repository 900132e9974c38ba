"""The dispatcher: releases held bulk work to the outbox, as workers claim what was released before."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import Final

import structlog

from infra.metrics import RELEASED
from infra.postgres.database import Database
from infra.postgres.queries import dispatch
from producers.releases import NO_LIMITS, Limits, Releases
from schemas.errors import DependencyUnavailable

log = structlog.get_logger(__name__)

FIRST_S: Final = 0.025
"""Before the pause after the first round, and after one that new work asked for; a pause is at most twice the last."""
LEAST_S: Final = 0.05
"""Between two rounds, at least, unless jobs may have come that are held."""
HURRIED_S: Final = 0.025
"""Between two rounds, at least, when jobs may have come that are held."""
STANDBY_S: Final = 0.5
"""Between two rounds, at most: jobs are long, or another dispatcher leads."""
IDLE_S: Final = 30.0
"""Between two rounds while nothing is held, unless the relay finds something that is."""
SHARE_OF_TIME: Final = 0.25
"""Looks that take long, because very many parents have work, are made less often, to take no more of the time."""


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
        self._releases = Releases(window, limits)
        self._limited = limits.tenant is not None or limits.model is not None
        self._needed_in_s = inf
        self._looked_s = 0.0
        """How long the last look took at who has work."""
        self._found = asyncio.Event()
        self._new = asyncio.Event()
        self.turned_at: float | None = None
        """When the present round began, on the monotonic clock; None before the first, and while nothing is held."""

    def wake(self) -> None:
        """Announce that jobs are held; whoever makes rounds already knows."""
        self._found.set()

    def hurry(self) -> None:
        """Announce that jobs may have come that will be held: they need not wait for the end of a pause."""
        self._new.set()

    async def run(self) -> None:
        """Dispatch until cancelled. While Postgres is away, everything stays held."""
        pause = FIRST_S
        while True:
            self.turned_at = time.monotonic()
            self._found.clear()
            if self._new.is_set():
                self._new.clear()
                pause = FIRST_S
            try:
                released = await self.round()
            except DependencyUnavailable as error:
                log.warning("dispatch.away", error=error.message)
                await asyncio.sleep(1)
                continue
            if released is None:
                pause, self.turned_at = FIRST_S, None
                await _set(self._found, IDLE_S)
                continue
            pause = min(max(self._needed_in_s, LEAST_S), pause * 2, STANDBY_S)
            least = max(min(pause, HURRIED_S), self._looked_s / SHARE_OF_TIME)
            await asyncio.sleep(least)
            await _set(self._new, pause - least)

    async def round(self) -> int | None:
        """Release what is next; how many jobs, None when nothing is held at all."""
        self._needed_in_s, self._looked_s = inf, 0.0
        async with self._database.unit_of_work() as connection:
            if not await dispatch.lead(connection):
                return 0
            began = time.monotonic()
            shares = await dispatch.shares(connection, self._releases.reach)
            limited = (shares and self._limited) or any(share.key for share in shares)
            running = await dispatch.running(connection) if limited else []
            self._looked_s = time.monotonic() - began
            wanted = self._releases.next(shares, datetime.now(UTC), running)
            released = await dispatch.release(connection, wanted) if wanted else 0
            self._needed_in_s = self._releases.needed_in_s
        if released:
            RELEASED.inc(released)
            self._wake_relay()
        return released if any(share.held for share in shares) else None


async def _set(event: asyncio.Event, within_s: float) -> None:
    """Until the event is set, or for so long."""
    if within_s > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), within_s)
