"""The server's answers, as types. Fields that a newer server adds are kept, not refused."""

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.kinds.inference import Citation, InferenceResult
from schemas.lifecycle import TERMINAL, JobState

T = TypeVar("T")

TOLERANT = ConfigDict(extra="allow", frozen=True)


class Answered(BaseModel):
    """The base of every answer."""

    model_config = TOLERANT


class Progress(Answered):
    """`done` of `total` units of the present stage; 0 of 0 while nothing is known."""

    done: int = 0
    total: int = 0
    message: str | None = None


class JobFault(Answered):
    """Why a job failed, or why its last try did. `retryable`: whether submitting it again can help.

    `since`: when the outside system that the job waits for went away.
    """

    code: str
    message: str
    retryable: bool = False
    since: datetime | None = None


class ChildCounts(Answered):
    """How many children a parent has, by state."""

    total: int = 0
    queued: int = 0
    running: int = 0
    retry_wait: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def ended(self) -> int:
        """Children that will not change again."""
        return self.succeeded + self.failed + self.cancelled


class JobAlias(Answered):
    """An alias that a job named, and the full name of the model that it gave the job."""

    name: str
    model: str


class Steering(Answered):
    """How a job is paused, and how its children in the lane `bulk` are taken up. `paused_at`: since when no more of
    them are, and since when a training leaves its worker.
    """

    paused_at: datetime | None = None
    weight: int = 1
    at_once: int | None = None
    deadline: datetime | None = None


class Job(Answered):
    """A job as the server sees it at this moment."""

    id: str
    kind: str
    state: JobState
    lane: str = "interactive"
    model: str | None = None
    alias: JobAlias | None = None
    stage: str | None = None
    attempt: int = 0
    max_attempts: int = 1
    progress: Progress = Progress()
    result: dict[str, Any] | None = None
    error: JobFault | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    concurrency_key: str | None = None
    parent: str | None = None
    key: str | None = None
    children: ChildCounts | None = None
    steering: Steering | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    links: dict[str, str] = Field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the state is terminal."""
        return self.state in TERMINAL

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1: of the children if there are any, else of the present stage."""
        if self.state is JobState.SUCCEEDED:
            return 1.0
        if self.children and self.children.total:
            return self.children.ended / self.children.total
        return min(1.0, self.progress.done / self.progress.total) if self.progress.total else 0.0


class File(Answered):
    """An uploaded file, or an artifact a job made. `bytes` is its size; `expires_at`: None when it never does."""

    id: str
    filename: str
    purpose: str | None = None
    bytes: int
    sha256: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None


class Encoders(Answered):
    """What a collection's vectors are made with; `dense` and `dimension` are None where it has no dense arm."""

    sparse: str | None = None
    dense: str | None = None
    dimension: int | None = None
    learned: bool = False


class Rebuild(Answered):
    """A collection's documents being indexed again: with which settings, and by which job."""

    job: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class Collection(Answered):
    """A collection of indexed documents. `generation` counts its rebuilds; `fields` can be filtered by.

    `doubt`: why its index does not hold what the catalogue says, as after a restore. Searches fail until its rebuild.
    """

    name: str
    documents: int = 0
    chunks: int = 0
    bytes: int = 0
    encoder: Encoders = Encoders()
    settings: dict[str, Any] = Field(default_factory=dict)
    generation: int = 0
    doubt: str | None = None
    rebuild: Rebuild | None = None
    fields: list[str] = Field(default_factory=list)
    created_at: datetime | None = None


class SearchHit(Citation):
    """A chunk that answers a query. `score` compares within one answer; `start`/`end` are offsets in the document."""

    model_config = TOLERANT


class Answer(InferenceResult):
    """An answer with its citations, and the id of the job that made it."""

    model_config = TOLERANT

    job: str


class Page(Answered, Generic[T]):
    """A page of a listing, newest first."""

    data: list[T]
    has_more: bool = False


class Deleted(Answered):
    """What was removed."""

    object: str | None = None
    id: str | None = None
    name: str | None = None
    deleted: bool
