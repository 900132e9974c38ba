"""`client.dead`: list, show, requeue and drop dead letters."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from producers.client.binding import AsynchronousPart, BlockingPart, call
from producers.client.models import Answered, Deleted, Job, JobFault, Page
from producers.client.requests import Request, given, one, path


class DeadLetter(Answered):
    """A job that ran out of attempts, or a message that could not be read; `payload` only when it was requested alone.

    `source`: `job` or `message`. `encoding` of the payload: `json` (a job's input), `utf-8` or `base64` (a message).
    """

    id: str
    source: str
    reason: str
    error: JobFault
    job: str | None = None
    kind: str | None = None
    stage: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    bytes: int | None = None
    created_at: datetime
    requeued_at: datetime | None = None
    requeued_as: str | None = None
    payload: Any = None
    encoding: str | None = None


class Requeued(Answered):
    """A letter that went back to work, and the job that does it; None where that is another tenant's."""

    letter: DeadLetter
    job: Job | None = None


class Refused(Answered):
    """A letter that cannot be requeued now."""

    id: str
    code: str
    message: str


class ManyRequeued(Answered):
    """The result for a page of letters; while `has_more`, continue with `after`."""

    requeued: int
    jobs: Sequence[str] = ()
    refused: Sequence[Refused] = ()
    has_more: bool = False
    after: str | None = None


class ManyDropped(Answered):
    """How many letters of a page are gone; while `has_more`, repeat."""

    dropped: int
    has_more: bool = False


class DeadLetterCalls:
    """Dead letters of the key's tenant; with an operator's key, those of messages too."""

    @call
    def list(
        self,
        *,
        kind: str | None = None,
        reason: str | None = None,
        source: str | None = None,
        requeued: bool | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Request[Page[DeadLetter]]:
        """A page of letters, newest first, without payloads; `requeued`: also those that were requeued."""
        params = given(kind=kind, reason=reason, source=source, requeued=requeued, after=after, limit=limit)
        return Request("GET", path("dead"), one(Page[DeadLetter]), params=params)

    @call
    def show(self, id: str) -> Request[DeadLetter]:
        """A letter with its payload."""
        return Request("GET", path("dead", id), one(DeadLetter))

    @call
    def requeue(self, id: str) -> Request[Requeued]:
        """Submit the letter's original job again as a new job; a repeated call gives the same one.

        Raises `ApiError` with status 409 and the reason when it cannot be.
        """
        return Request("POST", path("dead", id, "requeue"), one(Requeued))

    @call
    def requeue_many(
        self,
        *,
        kind: str | None = None,
        reason: str | None = None,
        source: str | None = "job",
        after: str | None = None,
    ) -> Request[ManyRequeued]:
        """Requeue a page of letters, newest first; `source` None: any."""
        body = {"kind": kind, "reason": reason, "source": source, "after": after}
        return Request("POST", path("dead", "requeue"), one(ManyRequeued), json=body, patience_s=60)

    @call
    def drop(self, id: str) -> Request[Deleted]:
        """Drop a letter; its failed job stays."""
        return Request("DELETE", path("dead", id), one(Deleted))

    @call
    def drop_many(
        self, *, kind: str | None = None, reason: str | None = None, source: str | None = "job"
    ) -> Request[ManyDropped]:
        """Drop a page of letters that were not requeued; `source` None: any."""
        body = {"kind": kind, "reason": reason, "source": source}
        return Request("POST", path("dead", "drop"), one(ManyDropped), json=body, patience_s=60)


class DeadLetters(DeadLetterCalls, BlockingPart):
    """`Client.dead`."""


class AsyncDeadLetters(DeadLetterCalls, AsynchronousPart):
    """`AsyncClient.dead`."""
