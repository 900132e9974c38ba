"""Vectors that a model made, cached so that it need not make them again."""

from datetime import datetime

from sqlalchemy import Index, LargeBinary, Text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import time


class Embedding(SQLModel, table=True):
    """What `model` makes of the text whose SHA-256 is `hash`: a vector of 32-bit floats, and its own sparse vector."""

    __tablename__ = "embedding"
    __table_args__ = (Index("embedding_used", "used_at"),)
    model: str = Field(primary_key=True, sa_type=Text)
    hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    dense: bytes = Field(sa_type=LargeBinary)
    learned: bytes | None = Field(sa_type=LargeBinary)
    used_at: datetime = time(now=True)
