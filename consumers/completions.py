"""Records how tries ended: one statement for all that end at about the same time, repeated until Postgres has it."""

from collections.abc import Sequence

from consumers.fan_in import FanIn
from consumers.fan_out import Wait
from infra.grouping import Grouper
from infra.patience import patiently
from infra.postgres.database import Database
from infra.postgres.queries import moves
from infra.postgres.queries.moves import Move, Moved
from producers.agents import Wake
from schemas.errors import DependencyUnavailable, LeaseLost
from schemas.lifecycle import TERMINAL, JobState


class Completions:
    """Groups the ends of a worker's tries, wakes parents whose last child ended, and agents when work continues."""

    def __init__(self, database: Database, wake: Wake, *, worker: str) -> None:
        self._database = database
        self._worker = worker
        self._wake = wake
        self._fan_in = FanIn(database, wake)
        self._moves: Grouper[Move, Moved | None] = Grouper(
            self._flush, limit=500, lanes=2, fatal=(DependencyUnavailable,)
        )

    async def record(self, move: Move) -> Moved | None:
        """Where the job went; None when its fence failed.

        Keeps trying while Postgres is away; then the fence decides.
        """
        return await patiently(lambda: self._moves.call(move), event="completion.away", first_s=0.1, longest_s=2)

    async def fan_out(self, wait: Wait) -> bool:
        """Make children and let the parent wait, in one transaction. False: the fence failed.

        Keeps trying while Postgres is away: if a try was committed without our knowing, the next one finds the fence
        closed, and the job continues anyway. Raises what is wrong with children that come in a stream.
        """

        async def once() -> bool:
            try:
                async with self._database.unit_of_work() as connection:
                    await moves.fan_out(
                        connection,
                        wait.id,
                        wait.epoch,
                        worker=self._worker,
                        then=wait.then,
                        carry=wait.carry,
                        count=wait.count,
                        pages=wait.pages(),
                        at_once=wait.at_once,
                    )
            except LeaseLost:
                return False
            return True

        held = await patiently(once, event="completion.away", first_s=0.1, longest_s=2)
        if held and not wait.count:
            self._fan_in.childless(wait.id)
        self._wake(bulk=True)
        return held

    async def close(self) -> None:
        """Wait for pending records."""
        await self._moves.close()
        await self._fan_in.close()

    async def _flush(self, group: Sequence[Move]) -> Sequence[Moved | None]:
        async with self._database.connection() as connection:
            moved = await moves.finish(connection, group, worker=self._worker)
        if any(m is not None and m.state is JobState.QUEUED for m in moved):
            self._wake()
        self._fan_in.ended(
            (move.id, m.parent)
            for move, m in zip(group, moved, strict=True)
            if m is not None and m.parent is not None and m.state in TERMINAL
        )
        return moved
