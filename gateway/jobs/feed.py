"""Reads the new events of all jobs that clients of this process follow, with one query for all of them."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from infra.metrics import FOLLOWERS
from infra.postgres.database import Database
from infra.postgres.queries import reading
from schemas.errors import DependencyUnavailable

PAGE: Final = 500
"""Events that one look brings to a follower."""
TOGETHER: Final = 200
"""Followers that one query serves."""

LOOK_S: Final = 0.025
"""The pause between two looks, and so how often a text that is being written is read."""
SHORTEST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 0.5
AWAY_S: Final = 0.5

TEXT: Final = frozenset({"stream", "token"})
"""Events of a text that is being written: more of it comes soon."""


class Follower:
    """A client's place in the events of a job."""

    def __init__(self, job_id: UUID, after: int) -> None:
        self.job_id = job_id
        self.after = after
        self.due = 0.0
        """When to look for it next, on the monotonic clock."""
        self._rows: Sequence[asyncpg.Record] = ()
        self._ended = False
        self._writing = False
        self._pause = SHORTEST_PAUSE_S
        self._found = asyncio.Event()

    def look_found(self, rows: Sequence[asyncpg.Record], ended: bool) -> None:
        """What a look found after `after`; `ended`: nothing can follow these rows."""
        if rows or ended:
            self._rows, self._ended = rows, ended
            self._pause = SHORTEST_PAUSE_S
            self._found.set()
        else:
            self.due = time.monotonic() + (0 if self._writing else self._pause)
            self._pause = min(self._pause * 1.5, LONGEST_PAUSE_S)

    async def found(self) -> tuple[Sequence[asyncpg.Record], bool]:
        """The next events, and whether the job ended with them."""
        await self._found.wait()
        self._found.clear()
        rows, self._rows = self._rows, ()
        if rows:
            self.after, self._writing = rows[-1]["id"], rows[-1]["type"] in TEXT
        return rows, self._ended


class Feed:
    """Looks for all followers that wait. While nobody does, nothing is asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[Follower, None] = {}
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def follow(self, job_id: UUID, after: int) -> Iterator[Follower]:
        """A place after the event `after` of a job."""
        FOLLOWERS.inc()
        try:
            yield Follower(job_id, after)
        finally:
            FOLLOWERS.dec()

    async def next(self, follower: Follower, within_s: float) -> tuple[Sequence[asyncpg.Record], bool]:
        """The next events, at most 500, and whether the job ended with them; none when nothing came `within_s`.

        A client that takes nothing is looked for no more until it does.
        """
        self._waiting[follower] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            return await asyncio.wait_for(follower.found(), within_s)
        except TimeoutError:
            return (), False
        finally:
            self._waiting.pop(follower, None)

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            due = [follower for follower in self._waiting if follower.due <= now]
            for start in range(0, len(due), TOGETHER):
                together = due[start : start + TOGETHER]
                try:
                    await self._look_for(together)
                except DependencyUnavailable:  # while Postgres is away followers wait
                    for follower in together:
                        follower.due = time.monotonic() + AWAY_S

    async def _look_for(self, followers: Sequence[Follower]) -> None:
        places = [(follower.job_id, follower.after) for follower in followers]
        async with self._database.connection() as connection:
            found = await reading.followed(connection, places, PAGE)
        for follower, (rows, ended) in zip(followers, found, strict=True):
            follower.look_found(rows, ended)
