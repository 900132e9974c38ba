"""The rescuer: moves on jobs that would otherwise wait forever. One leads at a time; the others stand by."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from infra.metrics import FAILURES, RESCUED, WORKER_DEATHS
from infra.postgres.database import Database
from infra.postgres.queries import batches, cancel, deaths, moves, rescue
from infra.settings import RescueSettings
from schemas.errors import DependencyUnavailable

if TYPE_CHECKING:
    from infra.postgres.database import Connection

log = structlog.get_logger(__name__)

PAGE: Final = 500
"""Rows a sweep moves in one transaction: a mass rescue must not hold locks for long."""
SELDOM: Final = 5
"""The rarer rescues run once in this many sweeps."""
DISMISSED_AFTER_S: Final = 0.9
"""A worker without a session for so long, which is at the second sight of it, leaves its consumer groups."""
AT_ONCE_S: Final = 3.0
"""Workers that vanish within this time died of the same thing: sweeps see them a second apart, and nodes die slowly."""


class Rescuer:
    """Sweeps every `every`: due retries, ended leases, expired waits, lost messages, parents nobody woke, batches that
    are to be closed.
    """

    def __init__(
        self,
        database: Database,
        settings: RescueSettings,
        wake_relay: Callable[[], None],
        dismiss: Callable[[Collection[str]], Awaitable[object]] | None = None,
    ) -> None:
        """`dismiss` takes dead workers out of their consumer groups; None where there are no groups."""
        self._database = database
        self._settings = settings
        self._wake_relay = wake_relay
        self._dismiss = dismiss
        self._dismissed: set[str] = set()
        self._dismissing: asyncio.Task[None] | None = None
        self._sweeps = 0
        self._absent: dict[str, float] = {}
        self._dead: dict[str, float] = {}
        self._charged_from = 0.0
        self.turned_at: float | None = None
        """When the present step of a sweep began, on the monotonic clock; None before the first."""

    async def run(self) -> None:
        """Sweep until cancelled; keep trying while Postgres is away."""
        try:
            await self._sweep_on()
        finally:
            if self._dismissing is not None:
                self._dismissing.cancel()

    async def _sweep_on(self) -> None:
        while True:
            try:
                moved = await self.sweep()
            except DependencyUnavailable as error:
                log.warning("rescue.away", error=error.message)
                # Whatever cut us off has cut off the workers too: they get time to come back, and leases that ended
                # meanwhile are no deaths.
                self._absent.clear()
                self._charged_from = time.monotonic() + self._settings.gone.total_seconds()
                moved = 0
            if moved:
                self._wake_relay()
            if moved < PAGE:
                await asyncio.sleep(self._settings.every.total_seconds())

    async def sweep(self) -> int:
        """One round of every rescue; returns how many jobs moved, 0 when another rescuer leads."""
        total = 0
        parents: set[UUID] = set()
        steps: list[tuple[str, Callable[[Connection], Awaitable[int]]]] = []
        self.turned_at = time.monotonic()
        async with self._database.connection() as connection:
            found = await rescue.look(connection)
        if found.due:
            steps.append(("due", lambda c: rescue.queue_due(c, PAGE)))
        if found.leased or self._absent:
            steps.append(("lease", lambda c: self._end_leases(c, parents)))
        if found.closing:
            steps.append(("batch", lambda c: _close_batches(c, parents)))
        if self._sweeps % SELDOM == 0:  # needed only after a crash
            steps += [
                ("expired", lambda c: _ended(rescue.end_expired(c, PAGE), parents)),
                ("unclaimed", self._summon_again),
                ("children_ended", self._resume_parents),
            ]
        self._sweeps += 1
        for reason, step in steps:
            self.turned_at = time.monotonic()
            async with self._database.unit_of_work() as connection:
                if not await rescue.lead(connection):
                    return total
                moved = await step(connection)
            if reason == "lease":
                self._dismiss_the_absent()
            if parents:
                # After the commit: a sibling that ends at the same time must see these ends, and a lock on a parent
                # must not be waited for while holding its children, which a cancellation locks the other way round.
                async with self._database.connection() as connection:
                    await moves.resume_parents(connection, sorted(parents))
                parents.clear()
            if moved:
                RESCUED.labels(reason).inc(moved)
                log.info("rescue.moved", reason=reason, jobs=moved)
                total += moved
        return total

    def _dismiss_the_absent(self) -> None:
        """Begin to take workers that died out of their groups; one round at a time, and no sweep waits for it.

        Not after an outage of Postgres, when the living are absent too. A mistake costs a rebalance, no job.
        """
        now = time.monotonic()
        self._dismissed &= self._absent.keys()
        busy = self._dismissing is not None and not self._dismissing.done()
        if self._dismiss is None or busy or now < self._charged_from:
            return
        workers = {worker for worker, since in self._absent.items() if now - since >= DISMISSED_AFTER_S}
        if workers := workers - self._dismissed:
            self._dismissed |= workers
            self._dismissing = asyncio.create_task(_dismiss(self._dismiss, workers))

    async def summon_all(self) -> int:
        """After the loss of a broker that stores nothing: every queued job gets its message again."""
        before = datetime.now(UTC)
        total = 0
        while True:
            async with self._database.unit_of_work() as connection:
                moved = await rescue.summon_all(connection, 10_000, before=before)
            total += moved
            if moved < 10_000:
                return total
            self._wake_relay()

    async def _end_leases(self, connection: "Connection", parents: set[UUID]) -> int:
        """End the leases that ran out, and those of workers whose session ended and did not come back for `gone`.

        Adds the parents of the jobs that ended to `parents`.
        """
        now = time.monotonic()
        self._absent = {worker: self._absent.get(worker, now) for worker in await deaths.absent(connection)}
        gone_s = self._settings.gone.total_seconds()
        dead = {worker: since for worker, since in self._absent.items() if now - since >= gone_s}
        # Those of the sweeps before belong to the same crowd.
        self._dead = {worker: since for worker, since in self._dead.items() if now - since < 2 * gone_s} | dead
        vanished = self._absent | self._dead
        crowd = [
            worker
            for worker, since in vanished.items()
            if sum(abs(since - other) <= AT_ONCE_S for other in vanished.values()) >= deaths.CROWD
        ]
        if dead:
            log.info("rescue.worker_gone", workers=list(dead), crowd=len(dead.keys() & crowd))
        charged = now >= self._charged_from
        lost = await deaths.end_leases(
            connection, PAGE, proof=self._settings.proof, dead=dead.keys(), crowd=crowd, charged=charged
        )
        if charged:
            WORKER_DEATHS.inc(len(lost.workers))
        for kind, code in lost.failed:
            FAILURES.labels(kind, code).inc()
        for killer in lost.killers:
            log.warning("rescue.worker_killed", job_id=str(killer))
        parents |= lost.parents
        return lost.jobs

    async def _summon_again(self, connection: "Connection") -> int:
        return await rescue.summon_again(connection, PAGE, unclaimed_s=self._settings.unclaimed.total_seconds())

    async def _resume_parents(self, connection: "Connection") -> int:
        return (await moves.resume_parents(connection, await rescue.waiting_parents(connection, PAGE))).moved


async def _close_batches(connection: "Connection", parents: set[UUID]) -> int:
    """Close batches whose window is over, and cancel a page of the lines of one that is being closed.

    Adds that batch to `parents`: it goes on when no line is left.
    """
    due = await batches.close_due(connection, PAGE)
    for batch in await batches.closing(connection, PAGE):
        if lines := await cancel.cancel_children(connection, batch, PAGE):
            parents.add(batch)
            return due + lines
    return due


async def _dismiss(dismiss: Callable[[Collection[str]], Awaitable[object]], workers: Collection[str]) -> None:
    try:
        await dismiss(workers)
    except DependencyUnavailable as error:
        log.warning("rescue.not_dismissed", error=error.message)  # their sessions end by themselves


async def _ended(ended: Awaitable[tuple[int, set[UUID]]], parents: set[UUID]) -> int:
    """Returns how many ended; adds their parents to `parents`."""
    moved, found = await ended
    parents |= found
    return moved
