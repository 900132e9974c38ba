"""Jobs, their history, and the messages that summon workers to them."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Interval,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import json, states, time
from schemas.lifecycle import JobState


class Job(SQLModel, table=True):
    """A job, from submission to its end. The row is the truth; a message only points to it.

    `epoch` grows with every claim and fences off stale workers. `attempt` counts the tries of the present stage.
    `due_at` is since when the job is queued, or until when it waits. `summoned_at` is when its last message entered the
    outbox; NULL for a queued job that is held until its turn. `claimed_at` is when its last try began. `rounds` counts
    a parent's fan-outs; a child's `round` is the one that made it, and `key` its name in that round. `deaths` counts
    the workers that died while they ran its present stage, `suspicion` is the evidence that the job is the cause, and
    `died_after` is how long it had run at the last death that counts; the next stage starts without them. `waiting`
    marks a running job without a worker, whose children are at work. `model` is the one that its stages run on, by its
    name in the deployment; NULL if none does. `alias` is the alias that its owner named, and `alias_model` the full
    name of the model that it means for this job. `webhook` is the job's own receiver, as `{"url", "origin", "events"}`.
    What steers its children: `paused_at`, since when no more of them are summoned; `weight`, its share beside the
    tenant's other parents; `at_once`, how many may be on their way; `deadline`, before which they are preferred. Few
    jobs of a tenant with the same `concurrency_key` are on their way at once.
    """

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(f"state IN ({states(JobState)})", name="job_state"),
        Index(
            "job_idempotency",
            "tenant",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index("job_newest", "tenant", "id", postgresql_include=["parent"]),
        Index("job_listed", "tenant", "kind", "state", "id", postgresql_where=text("parent IS NULL")),
        Index(
            "job_children",
            "parent",
            "state",
            "id",
            postgresql_include=["kind"],
            postgresql_where=text("parent IS NOT NULL"),
        ),
        Index("job_child_key", "parent", "round", "key", unique=True, postgresql_where=text("key IS NOT NULL")),
        Index(
            "job_queued",
            "summoned_at",
            postgresql_include=["kind", "stage", "lane", "model", "due_at"],
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "job_bulk",
            "kind",
            "stage",
            text("coalesce(model, '')"),
            "tenant",
            text("coalesce(parent, '00000000-0000-0000-0000-000000000000')"),
            text("coalesce(concurrency_key, '')"),
            "summoned_at",
            "id",
            postgresql_where=text("coalesce(state, '') = 'queued' AND lane = 'bulk'"),
        ),
        Index("job_retry_wait", "due_at", postgresql_where=text("state = 'retry_wait'")),
        Index("job_leased", "lease_until", postgresql_where=text("state = 'running' AND lease_until IS NOT NULL")),
        Index(
            "job_suspect",
            "died_after",
            postgresql_where=text("deaths > 1 AND state IN ('queued', 'running', 'retry_wait')"),
        ),
        Index("job_waiting", "id", postgresql_where=text("waiting")),
        Index("job_aliased", "tenant", "alias", "created_at", postgresql_where=text("alias IS NOT NULL")),
        Index(
            "job_aliased_queued",
            "tenant",
            "alias",
            "id",
            postgresql_where=text("alias IS NOT NULL AND state = 'queued'"),
        ),
        Index(
            "job_expiring",
            "expires_at",
            postgresql_where=text("expires_at IS NOT NULL AND state IN ('queued', 'retry_wait')"),
        ),
    )

    id: UUID = Field(primary_key=True)
    tenant: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    stage: str = Field(sa_type=Text)
    lane: str = Field(sa_type=Text)
    model: str | None = Field(sa_type=Text)
    alias: str | None = Field(sa_type=Text)
    alias_model: str | None = Field(sa_type=Text)
    state: str = Field(sa_column=Column(Text, nullable=False, server_default="queued"))
    waiting: bool = Field(sa_column_kwargs={"server_default": text("false")})
    cancel_requested: bool = Field(sa_column_kwargs={"server_default": text("false")})
    epoch: int = Field(sa_column_kwargs={"server_default": text("0")})
    attempt: int = Field(sa_column_kwargs={"server_default": text("0")})
    max_attempts: int
    deaths: int = Field(sa_column_kwargs={"server_default": text("0")})
    suspicion: int = Field(sa_column_kwargs={"server_default": text("0")})
    died_after: timedelta | None = Field(sa_type=Interval)
    timeout_s: float | None
    input: Any = json(null=False)
    carry: Any = json()
    result: Any = json()
    error: Any = json()
    metadata_: Any = Field(sa_column=Column("metadata", JSONB, nullable=False, server_default=text("'{}'")))
    progress_done: int = Field(sa_column_kwargs={"server_default": text("0")})
    progress_total: int = Field(sa_column_kwargs={"server_default": text("0")})
    progress_message: str | None = Field(sa_type=Text)
    parent: UUID | None = Field(foreign_key="job.id", ondelete="CASCADE")
    key: str | None = Field(sa_type=Text)
    round: int = Field(sa_column_kwargs={"server_default": text("1")})
    rounds: int = Field(sa_column_kwargs={"server_default": text("0")})
    idempotency_key: str | None = Field(sa_type=Text)
    fingerprint: bytes | None = Field(sa_column=Column(LargeBinary))
    traceparent: str | None = Field(sa_type=Text)
    webhook: Any = Field(sa_column=Column(JSONB))
    worker: str | None = Field(sa_type=Text)
    created_at: datetime = time(now=True)
    due_at: datetime = time(now=True)
    summoned_at: datetime | None = time(null=True, now=True)
    lease_until: datetime | None = time(null=True)
    started_at: datetime | None = time(null=True)
    claimed_at: datetime | None = time(null=True)
    finished_at: datetime | None = time(null=True)
    expires_at: datetime | None = time(null=True)
    paused_at: datetime | None = time(null=True)
    weight: int = Field(sa_column_kwargs={"server_default": text("1")})
    at_once: int | None
    deadline: datetime | None = time(null=True)
    concurrency_key: str | None = Field(sa_type=Text)


class JobEvent(SQLModel, table=True):
    """An event in a job's history, which the event stream reads. `id` grows within a job."""

    __tablename__ = "job_event"
    __table_args__ = (PrimaryKeyConstraint("job_id", "id"),)
    job_id: UUID = Field()
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), nullable=False))
    type: str = Field(sa_type=Text)
    at: datetime = time(now=True)
    data: Any = json(null=False)


class Outbox(SQLModel, table=True):
    """Messages to be sent: written in the commit that makes them true, deleted after Kafka has acknowledged them."""

    __tablename__ = "outbox"
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    job_id: UUID
    kind: str = Field(sa_type=Text)
    stage: str = Field(sa_type=Text)
    lane: str = Field(sa_type=Text)
    model: str | None = Field(sa_type=Text)
    epoch: int
    traceparent: str | None = Field(sa_type=Text)
    created_at: datetime = time(now=True)
