"""What trials of searches measured while they ran."""

from datetime import datetime
from uuid import UUID

from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import time


class TrialEvaluation(SQLModel, table=True):
    """The held-out loss of a trial after so many steps."""

    __tablename__ = "trial_evaluation"
    job_id: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    step: int = Field(primary_key=True)
    loss: float
    at: datetime = time(now=True)
