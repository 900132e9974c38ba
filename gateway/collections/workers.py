"""Sends searches to the workers that answer them without a job, and finds those workers in Postgres."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway.http.at_fault import as_error
from gateway.http.errors import NotDoneYet
from infra.isolation.frames import Frame
from infra.postgres.database import Database
from infra.postgres.queries import search_servers
from infra.searches.client import NotBegun, SearchConnection
from infra.searches.wire import PROTOCOL
from infra.telemetry import current_traceparent
from schemas.errors import DependencyUnavailable
from schemas.kinds.inference import InferenceInput
from schemas.searches import ANSWER_WITHIN_S

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
REST_S: Final = 15.0
"""How long a worker that could not be asked is not tried again."""


@dataclass(eq=False, slots=True)
class _Place:
    """A worker that says it answers searches, and the connection to it once there was a search."""

    host: str
    port: int
    token: str
    opening: asyncio.Task[SearchConnection] | None = None
    rests_until: float = 0.0

    @property
    def connection(self) -> SearchConnection | None:
        """The open connection, if there is one."""
        if self.opening is None or not self.opening.done() or self.opening.cancelled() or self.opening.exception():
            return None
        return self.opening.result()

    @property
    def under_way(self) -> int:
        """How many of this gateway's searches wait for it; a worker that is slow or frozen gets no more than others."""
        connection = self.connection
        return 0 if connection is None else connection.under_way

    async def connected(self) -> SearchConnection:
        """The open connection, opened if necessary, by one caller for all. Raises `NotBegun`."""
        connection = self.connection
        if connection is not None and connection.usable:
            return connection
        if self.opening is None or self.opening.done():
            self.opening = asyncio.create_task(SearchConnection.open(self.host, self.port, self.token))
        try:
            return await asyncio.shield(self.opening)
        except asyncio.CancelledError:
            if self.opening.cancelled():  # and not the caller
                raise NotBegun("the worker left") from None
            raise

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self.opening is not None:
            self.opening.cancel()
            await asyncio.gather(self.opening, return_exceptions=True)
        if (connection := self.connection) is not None:
            await connection.close()


class Searches:
    """All searches of this gateway. While none come, nothing is asked of Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._places: dict[str, _Place] = {}
        self._turn = 0
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def answer(self, tenant: str, wanted: InferenceInput) -> bytes | None:
        """The body of the answer; None when a job has to do it: no worker takes it, or it needs a model elsewhere.

        Raises the search's error, `SearchLost` when the worker is gone meanwhile, and `NotDoneYet` after 30 s.
        """
        question: dict[str, Any] = {"tenant": tenant}
        if (traceparent := current_traceparent()) is not None:
            question["traceparent"] = traceparent
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                found = await self._ask(question, wanted.model_dump_json().encode())
        except TimeoutError as error:
            raise NotDoneYet(f"the worker did not answer within {ANSWER_WITHIN_S} s") from error
        if found is None or found[0].get("elsewhere"):
            return None
        message, body = found
        if (told := message.get("error")) is not None:
            raise as_error(told)
        return body

    async def close(self) -> None:
        """Close all connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await asyncio.gather(*(place.close() for place in self._places.values()))

    async def _ask(self, question: dict[str, Any], content: bytes) -> Frame | None:
        for place in await self._in_turn():
            try:
                connection = await place.connected()
                return await connection.ask(question, content)
            except NotBegun as error:
                place.rests_until = time.monotonic() + REST_S
                log.info("search.not_begun", worker=f"{place.host}:{place.port}", error=str(error))
        return None

    async def _in_turn(self) -> list[_Place]:
        """The workers that may be asked, the one with the fewest searches under way first, then in turn."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_EVERY_S:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            if not self._places:
                await asyncio.shield(self._looking)
        able = [place for place in self._places.values() if place.rests_until <= now]
        if len(able) > 1:
            self._turn += 1
            first = self._turn % len(able)
            able = sorted(able[first:] + able[:first], key=lambda place: place.under_way)
        return able

    async def _look(self) -> None:
        """Ask Postgres which workers answer searches; while it is away, those that are known stay."""
        with suppress(DependencyUnavailable):
            async with self._database.connection() as connection:
                rows = await search_servers.find(connection, PROTOCOL)
            found = {row["worker"]: row for row in rows}
            for worker in self._places.keys() - found.keys():
                await self._places.pop(worker).close()
            for worker in found.keys() - self._places.keys():
                row = found[worker]
                self._places[worker] = _Place(row["host"], row["port"], row["token"])
        self._looked_at = time.monotonic()
