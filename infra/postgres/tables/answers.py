"""Answers of evaluations, by the address of what was asked."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Index, LargeBinary, Text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import time


class Answer(SQLModel, table=True):
    """The job whose result answers what `address`, a SHA-256, stands for. It goes when the job does."""

    __tablename__ = "answer"
    __table_args__ = (Index("answer_job", "job_id"),)
    tenant: str = Field(primary_key=True, sa_type=Text)
    address: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    job_id: UUID = Field(foreign_key="job.id", ondelete="CASCADE")
    created_at: datetime = time(now=True)
