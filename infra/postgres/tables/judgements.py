"""What judges of evaluations answered, so that nothing is asked twice, and what each evaluation paid for it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, LargeBinary, Text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import time


class Judgement(SQLModel, table=True):
    """A usable reply. `key`: SHA-256 of tenant, judge, its version, and all that it was asked."""

    __tablename__ = "judgement"
    __table_args__ = (Index("judgement_used", "used_at"),)
    key: bytes = Field(primary_key=True, sa_type=LargeBinary)
    reply: str = Field(sa_type=Text)
    used_at: datetime = time(now=True)


class JudgementCost(SQLModel, table=True):
    """What an evaluation's calls to its judge have cost so far."""

    __tablename__ = "judgement_cost"
    job_id: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    tokens: int = Field(sa_type=BigInteger)
    cost: float
