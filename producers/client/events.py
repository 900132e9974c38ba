"""The events of a job: their types, and the cursor that resumes a broken stream without a gap."""

import time
from datetime import datetime
from typing import Any, Final

from httpx_sse import ServerSentEvent
from pydantic import ValidationError

from producers.client.errors import UnexpectedAnswer
from producers.client.models import Answered, Progress
from schemas.lifecycle import TERMINAL, JobState

STREAM_SILENCE_S: Final = 60.0
"""A stream that is silent for longer is considered dead and reopened; the server sends keep-alives more often."""
LOOK_S: Final = 10.0
"""Less than the 15 s between two keep-alives, which would hide that the time is over."""


class Event(Answered):
    """Something that happened to a job; `id` grows within the job. An unknown type stays a plain `Event`."""

    id: int
    job: str
    type: str
    at: datetime
    data: dict[str, Any]

    @property
    def ends(self) -> bool:
        """Whether no event can follow."""
        return False


class StateEvent(Event):
    """The job moved to another state."""

    @property
    def state(self) -> JobState:
        """The new state."""
        return JobState(self.data["state"])

    @property
    def ends(self) -> bool:
        """Whether the new state is terminal."""
        return self.state in TERMINAL


class StageEvent(Event):
    """The job moved to another stage."""

    @property
    def stage(self) -> str | None:
        """The new stage."""
        return self.data.get("stage")


class ProgressEvent(Event):
    """A stage reported how far it is."""

    @property
    def progress(self) -> Progress:
        """Units done of the stage's total."""
        return Progress.model_validate(self.data)

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the stage, as a training's `loss` and `tokens_per_s`; empty where it has none."""
        return self.data.get("metrics") or {}


class StreamEvent(Event):
    """A text begins: what was streamed of this job before no longer holds."""


class TokenEvent(Event):
    """The next piece of the text that began last."""

    @property
    def text(self) -> str:
        """The piece: a few tokens."""
        return str(self.data["text"])

    @property
    def index(self) -> int:
        """Its number within the text, from 0."""
        return int(self.data["index"])


TYPES: dict[str, type[Event]] = {
    "state": StateEvent,
    "stage": StageEvent,
    "progress": ProgressEvent,
    "stream": StreamEvent,
    "token": TokenEvent,
}


class EventCursor:
    """The position of a reader in one job's events, who reads for `timeout` seconds at most; does no I/O.

    `connected()` before each connection, `read(sse)` for each server-sent event, `pause_s` before the next connection.
    """

    def __init__(self, job: str, after: int | None = None, timeout: float | None = None) -> None:
        self.job = job
        self.last = after
        self.timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self.ended = False
        self.progressed = True
        self._fruitless = 0

    def connected(self) -> None:
        """A new connection begins."""
        self.progressed = False
        self._fruitless += 1

    def read(self, sse: ServerSentEvent) -> Event | None:
        """The event, or None for a keep-alive or one that was seen already. Raises `UnexpectedAnswer`."""
        if not sse.data:
            return None
        try:
            event = TYPES.get(sse.event, Event).model_validate_json(sse.data)
            self.ended = event.ends
        except (ValidationError, KeyError, ValueError) as error:
            raise UnexpectedAnswer(f"an event of job {self.job} is not readable: {sse.data[:200]}") from error
        if self.last is not None and event.id <= self.last:
            return None
        self.last, self.progressed, self._fruitless = event.id, True, 0
        return event

    @property
    def too_late(self) -> bool:
        """Whether the reader's time is over."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def silence_s(self) -> float:
        """Seconds without a byte after which the connection is given up, to look whether the time is over."""
        if self._deadline is None:
            return STREAM_SILENCE_S
        return min(LOOK_S, max(0.01, self._deadline - time.monotonic()))

    @property
    def pause_s(self) -> float:
        """Seconds to wait before connecting again: none after progress, else doubling from 0.25 to 5."""
        return 0.0 if self.progressed else min(5.0, 0.125 * 2 ** min(self._fruitless, 8))
