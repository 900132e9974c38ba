"""What goes to the experiment tracker: runs, what they are still to be told, and what its model registry has."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Identity, Index, PrimaryKeyConstraint, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import json, time


class TrackedRun(SQLModel, table=True):
    """A run of a job. `parent` is the run it is nested in, `mlflow_id` MLflow's id for it, once it has one.

    `closed_at`: since when MLflow knows all of it, or, with an `error`, since when it has refused the run.
    """

    __tablename__ = "tracked_run"
    __table_args__ = (
        Index("tracked_run_job", "job_id"),
        Index("tracked_run_open", "created_at", postgresql_where=text("closed_at IS NULL")),
    )
    id: UUID = Field(primary_key=True)
    job_id: UUID = Field(foreign_key="job.id", ondelete="CASCADE")
    parent: UUID | None
    experiment: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    tags: Any = json(null=False)
    params: Any = json(null=False)
    mlflow_id: str | None = Field(sa_type=Text)
    error: str | None = Field(sa_type=Text)
    created_at: datetime = time(now=True)
    closed_at: datetime | None = time(null=True)


class TrackedEntry(SQLModel, table=True):
    """Metrics or a file of a run. The row stays until the run is closed, so that a repeated try adds nothing twice.

    `error`: why MLflow refused it.
    """

    __tablename__ = "tracked_entry"
    __table_args__ = (
        UniqueConstraint("run_id", "key", name="tracked_entry_once"),
        Index("tracked_entry_waiting", "run_id", "id", postgresql_where=text("sent_at IS NULL AND error IS NULL")),
        Index("tracked_entry_refused", "run_id", postgresql_where=text("error IS NOT NULL")),
    )
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    run_id: UUID = Field(foreign_key="tracked_run.id", ondelete="CASCADE")
    key: str = Field(sa_type=Text)
    data: Any = json(null=False)
    error: str | None = Field(sa_type=Text)
    created_at: datetime = time(now=True)
    sent_at: datetime | None = time(null=True)


class TrackedAdapter(SQLModel, table=True):
    """An adapter as MLflow's registry has it: a `version` of a `model`; or, with an `error`, why it was refused."""

    __tablename__ = "tracked_adapter"
    adapter: UUID = Field(primary_key=True, foreign_key="adapter.id", ondelete="CASCADE")
    model: str = Field(sa_type=Text)
    version: str | None = Field(sa_type=Text)
    error: str | None = Field(sa_type=Text)


class TrackedAlias(SQLModel, table=True):
    """What an alias points to in MLflow's registry; or, with an `error`, what it was refused to point to."""

    __tablename__ = "tracked_alias"
    __table_args__ = (PrimaryKeyConstraint("tenant", "alias"),)
    tenant: str = Field(sa_type=Text)
    alias: str = Field(sa_type=Text)
    model: str = Field(sa_type=Text)
    version: str = Field(sa_type=Text)
    error: str | None = Field(sa_type=Text)
