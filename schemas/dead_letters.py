"""Dead letters as their readers see them: jobs that ran out of attempts, and messages that could not be read."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.jobs import ErrorView, JobView

Word = Annotated[str, StringConstraints(pattern="^[a-z0-9_]{1,64}$")]
"""The name of a kind, or a stable code."""

LetterId = Annotated[str, StringConstraints(pattern="^dead_[0-9a-f]{32}$")]


class Source(StrEnum):
    """What died: a `job`, which belongs to a tenant, or a `message`, which belongs to none: operators see it."""

    JOB = "job"
    MESSAGE = "message"


class DeadLetterView(BaseModel):
    """A dead letter without its payload.

    A job's letter names `job`, its `kind` and the `stage` it died in; a message's where it was read: `topic`,
    `partition`, `offset` and the size in `bytes`. `reason` is `error.code`. `requeued_as`: the job that it became.
    """

    id: str
    object: Literal["dead_letter"] = "dead_letter"
    source: Source
    reason: str
    error: ErrorView
    job: str | None
    kind: str | None
    stage: str | None
    topic: str | None
    partition: int | None
    offset: int | None
    bytes: int | None
    created_at: datetime
    requeued_at: datetime | None
    requeued_as: str | None


class DeadLetterDetail(DeadLetterView):
    """A dead letter with its payload: as `json` a job's input, as `utf-8` or `base64` a message's bytes."""

    payload: Any
    encoding: Literal["json", "utf-8", "base64"]


class DeadLetterPage(BaseModel):
    """Dead letters, newest first; pass the last id as `after` for the next page."""

    data: list[DeadLetterView]
    has_more: bool


class Requeued(BaseModel):
    """A letter that went back to work, and the `job` that does it; null where that belongs to another tenant."""

    letter: DeadLetterView
    job: JobView | None


class Many(BaseModel):
    """Which letters: of a `kind`, with a `reason`, from a `source` (null: any), older than the letter `after`."""

    model_config = ConfigDict(extra="forbid")

    kind: Word | None = None
    reason: Word | None = None
    source: Source | None = Source.JOB
    after: LetterId | None = Field(None, description="The `after` of the answer before.")


class Refused(BaseModel):
    """A letter that cannot be requeued now, and the reason."""

    id: str
    code: str
    message: str


class ManyRequeued(BaseModel):
    """The result for one page of letters: how many were `requeued`, as which `jobs`; `after` leads to the next page."""

    requeued: int
    jobs: list[str]
    refused: list[Refused]
    has_more: bool
    after: str | None


class ManyDropped(BaseModel):
    """How many letters of a page were `dropped`; repeat while `has_more`."""

    dropped: int
    has_more: bool
