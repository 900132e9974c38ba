"""Records how tries ended: one statement for all that end at about the same time, and again until Postgres has it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from infra.grouping import Grouper
from infra.postgres.database import Database
from infra.postgres.queries import moves
from infra.postgres.queries.moves import Move, Moved
from schemas.errors import DependencyUnavailable
from schemas.lifecycle import JobState

if TYPE_CHECKING:
    from infra.postgres.database import Connection

log = structlog.get_logger(__name__)


class Completions:
    """Groups the ends of tries, wakes parents whose last child ended, and wakes the relay when work was handed on."""

    def __init__(self, database: Database, wake_relay: Callable[[], None]) -> None:
        self._database = database
        self._wake_relay = wake_relay
        self._moves: Grouper[Move, Moved | None] = Grouper(
            self._flush, limit=500, lanes=2, fatal=(DependencyUnavailable,)
        )

    async def record(self, move: Move) -> Moved | None:
        """Where the job went; None when its fence failed. While Postgres is away, tries on: the fence decides then."""
        delay = 0.1
        while True:
            try:
                return await self._moves.call(move)
            except DependencyUnavailable as error:
                log.warning("completion.away", error=error.message, retry_in_s=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2)

    async def fan_out(
        self, job_id: UUID, epoch: int, *, then: str, carry: str, children: Sequence[tuple[UUID, str, str]]
    ) -> bool:
        """Make children and let the parent wait, in one transaction. False: the fence failed."""
        async with self._database.unit_of_work() as connection:
            held = await moves.fan_out(connection, job_id, epoch, then=then, carry=carry, children=children)
        if held and not children:
            async with self._database.connection() as connection:
                await moves.resume_parents(connection, [job_id])
        self._wake_relay()
        return held

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._moves.close()

    async def _flush(self, group: Sequence[Move]) -> Sequence[Moved | None]:
        async with self._database.connection() as connection:
            moved = await moves.finish(connection, group)
            if any(m is not None and m.state is JobState.QUEUED for m in moved):
                self._wake_relay()
            await self._resume_parents(connection, moved)
        return moved

    async def _resume_parents(self, connection: "Connection", moved: Sequence[Moved | None]) -> None:
        parents = {m.parent for m in moved if m is not None and m.parent is not None}
        if parents and await moves.resume_parents(connection, sorted(parents)):
            self._wake_relay()
