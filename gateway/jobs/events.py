"""A job's history as server-sent events: resumable from any id, during the job and after it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import orjson
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from gateway.http.errors import Unauthenticated
from gateway.http.limits import Limits
from gateway.jobs.feed import Feed
from gateway.jobs.views import event_view

KNOWN_EVERY_S: Final = 1.0
"""How often a reader to whom nothing happens is asked for."""


class EventStream:
    """The events of `job` with ids above `after`, to the end of the job, or until the reader is no longer `known`."""

    def __init__(self, feed: Feed, job: asyncpg.Record, after: int, known: Callable[[], Awaitable[object]]) -> None:
        self._feed = feed
        self._job = job
        self._after = after
        self._known = known
        self.over = False
        """Whether there is nothing more to send."""

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """Each as it happens.

        Event 0 is the submission: it comes from the job's row and needs no row in the history. No connection is held
        while nothing happens, so thousands of readers cost an occasional query, not a connection each.
        """
        job_id: UUID = self._job["id"]
        if self._after < 0:
            yield _event(job_id, 0, "state", self._job["created_at"], {"state": "queued"})
        with self._feed.follow(job_id, max(0, self._after)) as follower:
            ended = False
            while not ended:
                try:
                    await self._known()
                except Unauthenticated:  # the key was revoked: to continue, the reader must present another
                    break
                rows, ended = await self._feed.next(follower, KNOWN_EVERY_S)
                self.over = ended
                for row in rows:
                    yield _event(job_id, row["id"], row["type"], row["at"], orjson.loads(row["data"]))
        self.over = True


class EventsResponse(EventSourceResponse):
    """Sends a stream of a tenant's, which counts as long as it is open. Raises `TooManyStreams` before it begins."""

    def __init__(
        self, stream: EventStream, limits: Limits, tenant: str, *, left: Callable[[object], Awaitable[None]]
    ) -> None:
        super().__init__(stream.events(), ping=15, client_close_handler_callable=left)
        self._limits = limits
        self._tenant = tenant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._limits.stream(self._tenant):
            await super().__call__(scope, receive, send)


def _event(job_id: UUID, id: int, type: str, at: datetime, data: dict[str, object]) -> ServerSentEvent:
    body = orjson.dumps(event_view(job_id, id, type, at, data))
    return ServerSentEvent(body.decode(), event=type, id=str(id))
