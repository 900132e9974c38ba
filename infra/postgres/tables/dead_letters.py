"""Dead letters: jobs and messages that no worker could handle, kept until someone decides about them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import json, time


class DeadLetter(SQLModel, table=True):
    """A job that ran out of attempts, or a message that could not be read.

    A job's payload is its row's `input`, so the row is kept as long as its letter. A message belongs to no tenant. Its
    bytes are the `payload`, and `digest`, their SHA-256, tells a repeated message from another one at the same offset.
    """

    __tablename__ = "dead_letter"
    __table_args__ = (
        CheckConstraint("source IN ('job', 'message')", name="dead_letter_source"),
        Index("dead_letter_newest", "tenant", "id"),
        Index("dead_letter_job", "job_id", unique=True),
        Index(
            "dead_letter_message",
            "topic",
            "partition",
            "offset",
            "digest",
            unique=True,
            postgresql_where=text("source = 'message'"),
        ),
    )
    id: UUID = Field(primary_key=True, sa_column_kwargs={"server_default": text("uuidv7()")})
    source: str = Field(sa_type=Text)
    tenant: str | None = Field(sa_type=Text)
    job_id: UUID | None = Field(foreign_key="job.id", ondelete="CASCADE")
    kind: str | None = Field(sa_type=Text)
    stage: str | None = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    error: Any = json(null=False)
    topic: str | None = Field(sa_type=Text)
    partition: int | None
    offset: int | None = Field(sa_type=BigInteger)
    payload: bytes | None = Field(sa_column=Column(LargeBinary))
    digest: bytes | None = Field(sa_column=Column(LargeBinary))
    created_at: datetime = time(now=True)
    requeued_at: datetime | None = time(null=True)
    requeued_as: UUID | None
