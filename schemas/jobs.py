"""What clients send to submit a job, and what they are shown of it."""

from datetime import datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, create_model, model_validator

from schemas.kinds.consistency import MOST_ATTEMPTS
from schemas.kinds.kind import Kind
from schemas.kinds.registry import KINDS, submittable
from schemas.lifecycle import JobState
from schemas.names import Composed, printable
from schemas.steering import SteeringView
from schemas.topics import Lane
from schemas.webhooks import JobWebhook, JobWebhookView

DAY: Final = 24 * 3600


MetadataKey = Annotated[str, Composed, StringConstraints(min_length=1, max_length=64), AfterValidator(printable)]
MetadataValue = Annotated[str, Composed, StringConstraints(max_length=512), AfterValidator(printable)]


ConcurrencyKey = Annotated[str, Composed, StringConstraints(min_length=1, max_length=200), AfterValidator(printable)]
MaxAttempts = Annotated[int, Field(ge=1, le=MOST_ATTEMPTS, description="Tries of each stage.")]
Timeout = Annotated[float, Field(gt=0, le=7 * DAY, description="Seconds that one try of a stage may take.")]


class Submission(BaseModel):
    """The fields that every kind of job has; omitted ones take the kind's defaults."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    kind: str
    input: Any
    lane: Lane = Field(default_factory=lambda given: KINDS[given["kind"]].lane)
    max_attempts: MaxAttempts = Field(default_factory=lambda given: KINDS[given["kind"]].max_attempts)
    timeout_s: Timeout | None = Field(default_factory=lambda given: KINDS[given["kind"]].timeout_s)
    expires_in_s: float | None = Field(None, gt=0, le=30 * DAY, description="Fails when no worker took it by then.")
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=16)
    webhook: JobWebhook | None = None
    concurrency_key: ConcurrencyKey | None = Field(
        None, description="Of your jobs with the same key one runs at a time. For the lane `bulk`."
    )

    @model_validator(mode="after")
    def _keys_are_for_bulk(self) -> Self:
        if self.concurrency_key is not None and self.lane is not Lane.BULK:
            raise ValueError("concurrency_key needs the lane bulk: interactive work does not wait")
        return self


def _submission_of(kind: Kind) -> type[Submission]:
    fields: dict[str, Any] = {
        "kind": (Literal[kind.name], ...),
        "input": (kind.input, ...),
        "lane": (Lane, kind.lane),
        "max_attempts": (MaxAttempts, kind.max_attempts),
        "timeout_s": (Timeout | None, kind.timeout_s),
    }
    name = f"Submit{kind.name.capitalize()}"
    model = create_model(name, __base__=Submission, __doc__=f"Submit a job of kind `{kind.name}`.", **fields)
    assert issubclass(model, Submission)
    return model


if TYPE_CHECKING:
    SubmitJob = Submission
else:
    SubmitJob = Annotated[reduce(or_, map(_submission_of, submittable())), Field(discriminator="kind")]
    """A submission of any kind that may be submitted; the kind chooses the branch."""


class Progress(BaseModel):
    """`done` of `total` steps of the present stage; of children where the job has some."""

    done: int
    total: int
    message: str | None


class LineErrorView(BaseModel):
    """What is wrong with a line of a batch's input; `line` counts from 1."""

    line: int
    code: str
    message: str
    param: str | None


class ErrorView(BaseModel):
    """Why a job failed, or why its last try did."""

    code: str
    message: str
    retryable: bool
    field: str | None = Field(None, description="The part of the job's input at fault, if there is one.")
    since: datetime | None = Field(None, description="Since when the outside system that it waits for has been away.")
    lines: list[LineErrorView] | None = Field(None, description="The first lines of a batch that are no requests.")


class ChildCounts(BaseModel):
    """A job's children, counted by state."""

    total: int
    queued: int
    running: int
    retry_wait: int
    succeeded: int
    failed: int
    cancelled: int


class JobLinks(BaseModel):
    """Links to what belongs to the job."""

    self: str
    events: str
    result: str
    cancel: str


class JobAlias(BaseModel):
    """An alias, and the full name of the model that it gave the job."""

    name: str
    model: str


class JobView(BaseModel):
    """A job as its owner sees it. A result over 64 KiB is `{"file": "file_..."}`; `links.result` serves its bytes."""

    id: str
    object: Literal["job"] = "job"
    kind: str
    state: JobState
    lane: Lane
    model: str | None = Field(description="The model that its stages run on, by its name here; null if none do.")
    alias: JobAlias | None = Field(description="The alias that it named, if it did.")
    stage: str
    attempt: int
    max_attempts: int
    progress: Progress
    result: Any = None
    error: ErrorView | None = None
    metadata: dict[str, str]
    webhook: JobWebhookView | None
    concurrency_key: str | None
    parent: str | None
    key: str | None = Field(description="A child's name in its parent, such as a line's `custom_id`.")
    children: ChildCounts | None
    steering: SteeringView | None = Field(description="Null for a kind that cannot be paused.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    links: JobLinks


class JobPage(BaseModel):
    """Jobs, newest first; pass the last id as `after` for the next page."""

    data: list[JobView]
    has_more: bool
