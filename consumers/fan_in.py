"""Wakes parents whose last child ended."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from infra.grouping import Drain
from infra.postgres.database import Database
from infra.postgres.queries import moves
from producers.agents import Wake
from schemas.errors import DependencyUnavailable

LATER_S: Final = 0.05
"""After an end, until its parent is looked at even though a child of it was seen alive: another worker may have ended
that one, and may have seen another alive that ended here."""


class FanIn:
    """Looks whether parents have a live child left, one statement at a time, and queues those that have none.

    A look finds a child that lives. Until that one ends here, other ends need no look of their own at once.
    """

    def __init__(self, database: Database, wake: Wake) -> None:
        self._database = database
        self._wake = wake
        self._living: dict[UUID, UUID] = {}
        """By parent, the child that was last seen alive."""
        self._now: set[UUID] = set()
        self._later: set[UUID] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._drain = Drain(self._look, lanes=1)

    def ended(self, children: Iterable[tuple[UUID, UUID]]) -> None:
        """These children, each with its parent, have ended; this is committed."""
        for child, parent in children:
            (self._now if self._living.get(parent, child) == child else self._later).add(parent)
        if self._now:
            self._drain.start()
        if self._later and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LATER_S, self._look_at_all)

    def childless(self, parent: UUID) -> None:
        """It waits for no child at all."""
        self._now.add(parent)
        self._drain.start()

    async def close(self) -> None:
        """Make the looks that are left."""
        if self._timer is not None:
            self._timer.cancel()
        self._look_at_all()
        await self._drain.close()

    def _look_at_all(self) -> None:
        self._timer = None
        self._now |= self._later
        self._later.clear()
        self._drain.start()

    async def _look(self) -> bool:
        """One statement for all that are to be looked at. If it fails, the rescuer's sweep heals it."""
        parents, self._now = self._now, set()
        self._later -= parents
        if not parents:
            return False
        living: dict[UUID, UUID] = {}
        with contextlib.suppress(DependencyUnavailable):
            async with self._database.connection() as connection:
                moved, living = await moves.resume_parents(connection, sorted(parents))
            if moved:
                self._wake()
        for parent in parents:
            self._living.pop(parent, None)
        self._living |= living
        return True
