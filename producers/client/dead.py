"""`client.dead`: dead letters, to list, show, requeue and drop. Blocking and asynchronous, over the same requests."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from producers.client import requests
from producers.client.models import Answered, Deleted, Job, JobFault, Page
from producers.client.requests import Request

T = TypeVar("T")


class DeadLetter(Answered):
    """A job that ran out of attempts, or a message that could not be read; `payload` when it was shown by itself.

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
    """What became of a page of letters; while `has_more`, go on with `after`."""

    requeued: int
    jobs: Sequence[str] = ()
    refused: Sequence[Refused] = ()
    has_more: bool = False
    after: str | None = None


class ManyDropped(Answered):
    """How many letters of a page are gone; while `has_more`, repeat."""

    dropped: int
    has_more: bool = False


def _listing(**given: Any) -> Request[Page[DeadLetter]]:
    return Request("GET", requests.path("dead"), requests.one(Page[DeadLetter]), params=requests.given(**given))


def _show(id: str) -> Request[DeadLetter]:
    return Request("GET", requests.path("dead", id), requests.one(DeadLetter))


def _requeue(id: str) -> Request[Requeued]:
    return Request("POST", requests.path("dead", id, "requeue"), requests.one(Requeued))


def _requeue_many(**given: Any) -> Request[ManyRequeued]:
    return Request("POST", requests.path("dead", "requeue"), requests.one(ManyRequeued), json=given, patience_s=60)


def _drop(id: str) -> Request[Deleted]:
    return Request("DELETE", requests.path("dead", id), requests.one(Deleted))


def _drop_many(**given: Any) -> Request[ManyDropped]:
    return Request("POST", requests.path("dead", "drop"), requests.one(ManyDropped), json=given, patience_s=60)


class _Send(Protocol):
    def __call__(self, request: Request[T]) -> T: ...


class _SendAsync(Protocol):
    async def __call__(self, request: Request[T]) -> T: ...


class DeadLetters:
    """Dead letters of the key's tenant; with an operator's key, those of messages too."""

    def __init__(self, send: _Send) -> None:
        self._send = send

    def list(
        self,
        *,
        kind: str | None = None,
        reason: str | None = None,
        source: str | None = None,
        requeued: bool | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[DeadLetter]:
        """A page of letters, newest first, without payloads; `requeued`: also those that were requeued."""
        return self._send(
            _listing(kind=kind, reason=reason, source=source, requeued=requeued, after=after, limit=limit)
        )

    def show(self, id: str) -> DeadLetter:
        """A letter with its payload."""
        return self._send(_show(id))

    def requeue(self, id: str) -> Requeued:
        """Make the submitted job that a letter stems from a new job; again, the same one.

        An `ApiError` of status 409 says why it cannot be.
        """
        return self._send(_requeue(id))

    def requeue_many(
        self,
        *,
        kind: str | None = None,
        reason: str | None = None,
        source: str | None = "job",
        after: str | None = None,
    ) -> ManyRequeued:
        """Requeue a page of letters, newest first; `source` None: any."""
        return self._send(_requeue_many(kind=kind, reason=reason, source=source, after=after))

    def drop(self, id: str) -> Deleted:
        """Drop a letter; its job stays, failed."""
        return self._send(_drop(id))

    def drop_many(
        self, *, kind: str | None = None, reason: str | None = None, source: str | None = "job"
    ) -> ManyDropped:
        """Drop a page of letters that were not requeued; `source` None: any."""
        return self._send(_drop_many(kind=kind, reason=reason, source=source))


class AsyncDeadLetters:
    """As `DeadLetters`."""

    def __init__(self, send: _SendAsync) -> None:
        self._send = send

    async def list(
        self,
        *,
        kind: str | None = None,
        reason: str | None = None,
        source: str | None = None,
        requeued: bool | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[DeadLetter]:
        """As `DeadLetters.list`."""
        return await self._send(
            _listing(kind=kind, reason=reason, source=source, requeued=requeued, after=after, limit=limit)
        )

    async def show(self, id: str) -> DeadLetter:
        """As `DeadLetters.show`."""
        return await self._send(_show(id))

    async def requeue(self, id: str) -> Requeued:
        """As `DeadLetters.requeue`."""
        return await self._send(_requeue(id))

    async def requeue_many(
        self,
        *,
        kind: str | None = None,
        reason: str | None = None,
        source: str | None = "job",
        after: str | None = None,
    ) -> ManyRequeued:
        """As `DeadLetters.requeue_many`."""
        return await self._send(_requeue_many(kind=kind, reason=reason, source=source, after=after))

    async def drop(self, id: str) -> Deleted:
        """As `DeadLetters.drop`."""
        return await self._send(_drop(id))

    async def drop_many(
        self, *, kind: str | None = None, reason: str | None = None, source: str | None = "job"
    ) -> ManyDropped:
        """As `DeadLetters.drop_many`."""
        return await self._send(_drop_many(kind=kind, reason=reason, source=source))
