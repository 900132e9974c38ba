"""Waits for jobs to end, with one query for all waiters in this process, and none while nobody waits."""

import asyncio
import contextlib
from typing import Final
from uuid import UUID

from infra.postgres.database import Database
from infra.postgres.queries import reading
from schemas.errors import DependencyUnavailable

FIRST_POLL_S: Final = 0.008
LONGEST_POLL_S: Final = 0.1


class Endings:
    """Polls for the ends of the jobs that callers wait for: often after a new caller came, then less and less often."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[UUID, set[asyncio.Future[bool]]] = {}
        self._released = False
        self._pause = FIRST_POLL_S
        self._task: asyncio.Task[None] | None = None

    async def wait(self, job_id: UUID, timeout_s: float) -> bool:
        """Whether the job ended within `timeout_s` seconds."""
        if self._released:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(future)
        self._pause = FIRST_POLL_S
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return False
        finally:
            waiters = self._waiting.get(job_id)
            if waiters is not None:
                waiters.discard(future)
                if not waiters:
                    del self._waiting[job_id]

    def release(self) -> None:
        """Answer all waiters now, whatever the state of their jobs: the process is about to stop."""
        self._released = True
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(False)

    async def close(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _poll(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 1.2, LONGEST_POLL_S)
            # While Postgres is away callers keep waiting until their own time is up.
            with contextlib.suppress(DependencyUnavailable):
                async with self._database.connection() as connection:
                    ended = await reading.ended(connection, list(self._waiting))
                for job_id in ended:
                    for future in self._waiting.get(job_id, ()):
                        if not future.done():
                            future.set_result(True)
