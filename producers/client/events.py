"""The events of a job: their types, and the cursor that resumes a broken stream without a gap."""

from datetime import datetime
from typing import Any

from httpx_sse import ServerSentEvent
from pydantic import ValidationError

from producers.client.errors import UnexpectedAnswer
from producers.client.models import Answered, Progress
from schemas.lifecycle import TERMINAL, JobState


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


TYPES: dict[str, type[Event]] = {
    "state": StateEvent,
    "stage": StageEvent,
    "progress": ProgressEvent,
}


class EventCursor:
    """The position of a reader in one job's events; does no I/O.

    `connected()` before each connection, `read(sse)` for each server-sent event, `pause_s` before the next connection.
    """

    def __init__(self, job: str, after: int | None = None) -> None:
        self.job = job
        self.last = after
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
    def pause_s(self) -> float:
        """Seconds to wait before connecting again: none after progress, else doubling from 0.25 to 5."""
        return 0.0 if self.progressed else min(5.0, 0.125 * 2 ** min(self._fruitless, 8))
