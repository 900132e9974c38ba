"""What travels on Kafka. A message is a summons to look at a job's row; losing or repeating one changes nothing."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.topics import Lane


class Summons(BaseModel):
    """Asks a worker to claim a job for one stage.

    `epoch` is the job's fencing token when the message was written: a summons whose epoch is not the row's is stale
    and is dropped. `model`: the one that does the work, if the stage runs a model. `traceparent` follows W3C Trace
    Context.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    job_id: UUID
    kind: str
    stage: str
    epoch: int = Field(ge=0, lt=2**31)
    lane: Lane
    model: str | None = None
    traceparent: str | None = None
