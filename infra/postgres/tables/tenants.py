"""Tenants, who own all work, and the API keys that prove who asks."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import time


class Tenant(SQLModel, table=True):
    """An owner of work. Nothing that belongs to one tenant is visible to another.

    `webhook_secret` signs the events of jobs that name their own receiver; null until the tenant asks for one.
    """

    id: str = Field(primary_key=True, sa_type=Text)
    created_at: datetime = time(now=True)
    webhook_secret: str | None = Field(sa_type=Text)
    webhook_previous_secret: str | None = Field(sa_type=Text)
    webhook_previous_until: datetime | None = time(null=True)


class ApiKey(SQLModel, table=True):
    """A key's SHA-256; the key itself is shown once, on creation. `prefix` is how people recognise it.

    An `operator` also sees what belongs to no tenant: messages that could not be read.
    """

    __tablename__ = "api_key"
    id: UUID = Field(primary_key=True)
    tenant: str = Field(foreign_key="tenant.id", ondelete="CASCADE", sa_type=Text)
    name: str = Field(sa_type=Text)
    prefix: str = Field(sa_type=Text)
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    created_at: datetime = time(now=True)
    revoked_at: datetime | None = time(null=True)
    operator: bool = Field(sa_column_kwargs={"server_default": text("false")})
