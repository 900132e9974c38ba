"""Sends what stages write, while they write it: one statement for all texts of a worker, at most 20 a second."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import orjson
import structlog

from consumers.held import Abort
from infra.metrics import STREAM_SECONDS, STREAMED
from infra.postgres.database import Database
from infra.postgres.queries import transcripts
from infra.postgres.queries.claim import Claimed
from infra.postgres.queries.transcripts import Written
from schemas.errors import DependencyUnavailable

log = structlog.get_logger(__name__)

EVERY_S: Final = 0.05
AWAY_S: Final = 0.5
"""The pause after a statement that failed because Postgres is away."""

FULL_PACE_S: Final = 60.0
"""From this age on a text's pieces come less often, in inverse proportion to its age: an hour makes some 6,000 rows."""


class JobTranscript:
    """The `Transcript` of one try. `close()` it when the try is over. Of the worker's event loop."""

    def __init__(self, row: Claimed, send_soon: Callable[["JobTranscript"], None], abort: Callable[[Abort], None]):
        self.row = row
        self.abort = abort
        self.due = 0.0
        """When its next piece may be sent, on the monotonic clock."""
        self._send_soon = send_soon
        self._pieces: list[str] = []
        self._sent = 0
        self._index = 0
        self._told = True
        """Whether readers know that a text begins; nothing is written before `begin`."""
        self._began: float | None = None
        self._closed = False
        self._unsent = False
        self._over: asyncio.Event | None = None
        """What `settle` waits for: nothing waits to be sent. Most tries write nothing and need none."""

    def begin(self) -> None:
        """Readers drop what an earlier try wrote, and what this one wrote."""
        self._pieces.clear()
        self._again()

    def write(self, text: str) -> None:
        """The next piece."""
        if self._began is None:
            self.begin()
        self._pieces.append(text)
        self._soon()

    async def settle(self, text: str) -> None:
        """Send what is missing of `text`, or all of it again; returns when it was sent, or the job is another's."""
        written = "".join(self._pieces)
        if self._began is None or not text.startswith(written):
            self.begin()
            written = ""
        if rest := text[len(written) :]:
            self.write(rest)
        self.due = 0.0
        if self._unsent:
            self._over = asyncio.Event()
            await self._over.wait()

    def close(self) -> None:
        """Drop what was not sent, and send nothing more."""
        self._closed = True
        self.was_sent()

    def take(self) -> list[Written]:
        """The events to send now."""
        if self._closed:
            return []
        events: list[Written] = []
        if not self._told:
            events.append(self._event("stream", {"stage": self.row.stage, "attempt": self.row.attempt}))
        if text := "".join(self._pieces[self._sent :]):
            events.append(self._event("token", {"text": _valid(text), "index": self._index}))
            self._index += 1
        self._told, self._sent = True, len(self._pieces)
        now = time.monotonic()
        pace = (now - (self._began or now)) / FULL_PACE_S
        self.due = now + EVERY_S * max(0.0, pace - 1)
        return events

    def unsure(self) -> None:
        """Whether the last events were recorded is not known: they are sent again, as a text that begins again."""
        self._again()

    def was_sent(self) -> None:
        """Nothing waits to be sent."""
        self._unsent = False
        if self._over is not None:
            self._over.set()

    def _again(self) -> None:
        self._sent = self._index = 0
        self._told = False
        self._began = self._began or time.monotonic()
        self._soon()

    def _soon(self) -> None:
        if not self._closed:
            self._unsent = True
            self._send_soon(self)

    def _event(self, type: str, data: dict[str, object]) -> Written:
        return Written(self.row.id, self.row.epoch, type, orjson.dumps(data).decode())


class Transcripts:
    """The transcripts of all tries of a worker."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unsent: dict[JobTranscript, None] = {}
        self._next = 0.0
        self._task: asyncio.Task[None] | None = None

    def of(self, row: Claimed, abort: Callable[[Abort], None]) -> JobTranscript:
        """The transcript of a try. `abort` is called when its owner cancelled the job."""
        return JobTranscript(row, self._send_soon, abort)

    async def close(self) -> None:
        """Wait for the statement under way."""
        if self._task is not None:
            await self._task

    def _send_soon(self, transcript: JobTranscript) -> None:
        self._unsent[transcript] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._unsent:
            await asyncio.sleep(max(0.0, self._next - time.monotonic()))
            now = time.monotonic()
            self._next = now + EVERY_S
            due = [transcript for transcript in self._unsent if transcript.due <= now]
            for transcript in due:
                del self._unsent[transcript]  # what is written from now on puts it back
            if due:
                await self._send(due)

    async def _send(self, due: Sequence[JobTranscript]) -> None:
        try:
            written = [event for transcript in due for event in transcript.take()]
            held = await self._told(written, worker=due[0].row.worker) if written else {}
        except DependencyUnavailable:
            self._next = time.monotonic() + AWAY_S
            for transcript in due:
                transcript.unsure()
            return
        except Exception as error:  # noqa: BLE001 - any error: the work must not fail for a text to read along
            await self._send_apart(due, error)
            return
        STREAMED.inc(len(written))
        for transcript in due:
            cancelled = held.get((transcript.row.id, transcript.row.epoch))
            if cancelled is None:
                transcript.close()
            elif cancelled:
                transcript.abort(Abort.CANCELLED)
            if transcript not in self._unsent:
                transcript.was_sent()

    async def _send_apart(self, due: Sequence[JobTranscript], error: Exception) -> None:
        """One by one, so that a text that cannot be sent stops no other."""
        if len(due) == 1:
            log.error("transcript.defect", exc_info=error, job_id=due[0].row.id.hex)
            due[0].close()
            return
        for transcript in due:
            transcript.unsure()
            await self._send([transcript])

    async def _told(self, written: Sequence[Written], *, worker: str) -> dict[tuple[UUID, int], bool]:
        with STREAM_SECONDS.time():
            async with self._database.connection() as connection:
                return await transcripts.tell(connection, written, worker=worker)


def _valid(text: str) -> str:
    """The text with half characters, which JSON from an engine may hold, replaced: UTF-8 has none."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
