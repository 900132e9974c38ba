"""LoRA adapters that tenants registered, one row for each version."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import json, time


class Adapter(SQLModel, table=True):
    """A version of an adapter of the model `base`. It never changes, and its number is never given again.

    `config` is its `adapter_config.json`; `blob`, of `bytes` bytes, holds the weights, until it is removed at
    `deleted_at`. `sha256` is of configuration and weights together, `weights_sha256` of the weights. If a training made
    it, `lineage` tells how, and `run` is its run in the experiment tracker.
    """

    __tablename__ = "adapter"
    __table_args__ = (UniqueConstraint("tenant", "base", "name", "version", name="adapter_version"),)
    id: UUID = Field(primary_key=True)
    tenant: str = Field(sa_type=Text)
    base: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    version: int
    config: str = Field(sa_type=Text)
    rank: int
    blob: str = Field(sa_type=Text)
    bytes: int = Field(sa_type=BigInteger)
    sha256: str = Field(sa_type=Text)
    weights_sha256: str = Field(sa_type=Text)
    lineage: Any = json()
    run: UUID | None
    created_at: datetime = time(now=True)
    deleted_at: datetime | None = time(null=True)
