"""A job's history as server-sent events: resumable from any id, during the job and after it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import orjson
from sse_starlette import ServerSentEvent

from gateway.http.errors import Unauthenticated
from gateway.jobs.views import event_view
from infra.postgres.database import Database
from infra.postgres.queries import reading

PAGE: Final = 500
SHORTEST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 0.5


async def stream(
    database: Database, job: asyncpg.Record, after: int, known: Callable[[], Awaitable[object]]
) -> AsyncIterator[ServerSentEvent]:
    """The events of `job` with ids above `after`, to the end of the job, or until the reader is no longer `known`.

    Event 0 is the submission: it comes from the job's row and needs no row in the history. No connection is held while
    nothing happens, so thousands of readers cost an occasional query, not a connection each.
    """
    job_id: UUID = job["id"]
    if after < 0:
        yield _event(job_id, 0, "state", job["created_at"], {"state": "queued"})
        after = 0
    pause = SHORTEST_PAUSE_S
    while True:
        try:
            await known()
        except Unauthenticated:  # the key was revoked: to continue, the reader must present another
            return
        async with database.connection() as connection:
            # Read the state first: then the event that ended the job is among the events read afterwards.
            ended = bool(await reading.ended(connection, [job_id]))
            rows = await reading.events(connection, job_id, after, PAGE)
        for row in rows:
            after = row["id"]
            data = orjson.loads(row["data"])
            yield _event(job_id, row["id"], row["type"], row["at"], data)
        if len(rows) == PAGE:
            continue
        if ended:
            return
        pause = SHORTEST_PAUSE_S if rows else min(pause * 1.5, LONGEST_PAUSE_S)
        await asyncio.sleep(pause)


def _event(job_id: UUID, id: int, type: str, at: datetime, data: dict[str, object]) -> ServerSentEvent:
    body = orjson.dumps(event_view(job_id, id, type, at, data))
    return ServerSentEvent(body.decode(), event=type, id=str(id))
