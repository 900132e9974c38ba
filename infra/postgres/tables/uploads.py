"""Uploads that come in parts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import time


class Upload(SQLModel, table=True):
    """A file that is sent in parts. `bytes` is the size that was announced, `lives_s` the lifetime of the file.

    It takes parts until `expires_at`, while it is `pending`.
    """

    __tablename__ = "upload"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'completed', 'cancelled')", name="upload_state"),
        Index("upload_expiring", "expires_at"),
    )
    id: UUID = Field(primary_key=True)
    tenant: str = Field(sa_type=Text)
    filename: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    content_type: str = Field(sa_type=Text)
    bytes: int = Field(sa_type=BigInteger)
    lives_s: float | None
    state: str = Field(sa_column=Column(Text, nullable=False, server_default="pending"))
    file_id: UUID | None
    created_at: datetime = time(now=True)
    expires_at: datetime = time()


class UploadPart(SQLModel, table=True):
    """A part. Its blob is listed as garbage from the beginning, so that what is never completed goes by itself."""

    __tablename__ = "upload_part"
    __table_args__ = (Index("upload_part_of", "upload_id"),)
    id: UUID = Field(primary_key=True)
    upload_id: UUID = Field(foreign_key="upload.id", ondelete="CASCADE")
    bytes: int = Field(sa_type=BigInteger)
    blob: str = Field(sa_type=Text)
    created_at: datetime = time(now=True)
