"""Batches: what a job of kind `batch` has beside its row."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import time


class Batch(SQLModel, table=True):
    """A batch whose lines were found to be requests. `expires_at`: when its completion window ends.

    `due_at` is when its owner is to be warned of that, and once this is done the same as `expires_at`. `closing` says
    why it ends before all of its lines are done. `finalizing_at`: since when its files have been written.
    """

    __tablename__ = "batch"
    __table_args__ = (
        CheckConstraint("closing IN ('cancelled', 'expired')", name="batch_closing_reason"),
        Index("batch_due", "due_at", postgresql_where=text("closing IS NULL AND finalizing_at IS NULL")),
        Index("batch_closing", "closing_at", postgresql_where=text("closing IS NOT NULL AND finalizing_at IS NULL")),
    )

    job_id: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    lines: int
    expires_at: datetime = time()
    due_at: datetime = time()
    in_progress_at: datetime = time(now=True)
    closing: str | None = Field(sa_type=Text)
    closing_at: datetime | None = time(null=True)
    finalizing_at: datetime | None = time(null=True)
