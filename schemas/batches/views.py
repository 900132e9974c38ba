"""Batches in OpenAI's shape: what clients send to make one, and what they are shown of it."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.files import ExpiresAfter
from schemas.jobs import MetadataKey, MetadataValue
from schemas.kinds.batch import CompletionWindow, Endpoint, LineCounts
from schemas.names import FileId
from schemas.steering import AtOnce, Weight
from schemas.webhooks import JobWebhook

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
LISTED_AT_MOST: Final = 100

Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class NewBatch(BaseModel):
    """A batch of the requests in a file. `webhook` is notified of its end."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: FileId = Field(description="Uploaded with the purpose `batch`.")
    endpoint: Endpoint
    completion_window: CompletionWindow = Field(description="1s to 30d, such as `24h`: the rest is cut off then.")
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = Field(None, description="Of the files that it writes; absent: never.")
    webhook: JobWebhook | None = None


class LineFault(BaseModel):
    """What is wrong with the input; `line` counts from 1 and is null where it is not a line."""

    code: str
    line: int | None
    message: str
    param: str | None


class LineFaults(BaseModel):
    """The first 100 of them."""

    object: Literal["list"] = "list"
    data: list[LineFault]


class BatchView(BaseModel):
    """A batch; times are Unix seconds. `job` is the same batch as a job, whose events tell how far it is."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: LineFaults | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: LineCounts
    metadata: dict[str, str] | None
    retry_of: str | None
    paused_at: int | None = Field(description="Since when no more lines are begun.")
    weight: Weight
    at_once: AtOnce | None
    deadline: int | None
    job: str


class BatchPage(BaseModel):
    """Batches, newest first; pass `last_id` as `after` for the next page."""

    object: Literal["list"] = "list"
    data: list[BatchView]
    has_more: bool
    first_id: str | None
    last_id: str | None
