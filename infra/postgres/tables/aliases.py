"""Aliases of models, and the ledger of their promotions."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, PrimaryKeyConstraint, Text, text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import json, time


class ModelAlias(SQLModel, table=True):
    """What an alias means now. Models have their full names, `base:adapter@version`.

    `canary_looks`: how often the canary was compared with the champion. `settled`: no job waits that was given another
    model than these two before `changed_at`.
    """

    __tablename__ = "model_alias"
    __table_args__ = (
        PrimaryKeyConstraint("tenant", "name"),
        Index("model_alias_tended", "tenant", postgresql_where=text("NOT settled OR canary_model IS NOT NULL")),
    )
    tenant: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    model: str = Field(sa_type=Text)
    canary_model: str | None = Field(sa_type=Text)
    canary_share: float | None
    canary_since: datetime | None = time(null=True)
    canary_looks: int = Field(sa_column_kwargs={"server_default": text("0")})
    settled: bool = Field(sa_column_kwargs={"server_default": text("true")})
    created_at: datetime = time(now=True)
    changed_at: datetime = time(now=True)


class ModelPromotion(SQLModel, table=True):
    """An entry of the ledger: one step of an alias. Entries are only added; a trigger refuses everything else.

    `by`: the name of an API key, a job, or `welip`. `job`: the one that made the step, so that a repeated try makes no
    second one.
    """

    __tablename__ = "model_promotion"
    __table_args__ = (
        Index("model_promotion_newest", "tenant", "alias", "id"),
        Index("model_promotion_job", "job", unique=True, postgresql_where=text("job IS NOT NULL")),
    )
    id: UUID = Field(primary_key=True, sa_column_kwargs={"server_default": text("uuidv7()")})
    tenant: str = Field(sa_type=Text)
    alias: str = Field(sa_type=Text)
    action: str = Field(sa_type=Text)
    model: str | None = Field(sa_type=Text)
    previous: str | None = Field(sa_type=Text)
    canary: str | None = Field(sa_type=Text)
    share: float | None
    by: str = Field(sa_type=Text)
    reason: str | None = Field(sa_type=Text)
    forced: bool
    evaluation: str | None = Field(sa_type=Text)
    evidence: Any = json()
    job: UUID | None
    created_at: datetime = time(now=True)
