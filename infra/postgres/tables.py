"""The tables. Alembic's migrations make them; a test holds the two equal. Rows are read through `queries/`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from schemas.lifecycle import LIVE, JobState


def _time(*, null: bool = False, now: bool = False) -> Any:
    return Field(
        sa_column=Column(DateTime(timezone=True), nullable=null, server_default=text("now()") if now else None),
        default=None,
    )


def _json(*, null: bool = True) -> Any:
    """Opaque JSON. Type `json`, not `jsonb`: kept as text, so it costs no parsing and may hold any string."""
    return Field(sa_column=Column(JSON(), nullable=null), default=None)


def _states(*states: JobState) -> str:
    return ", ".join(f"'{state.value}'" for state in sorted(states))


_IS_LIVE = f"state IN ({_states(*LIVE)})"


class Tenant(SQLModel, table=True):
    """Whose work it is. Nothing of one tenant is visible to another."""

    id: str = Field(primary_key=True, sa_type=Text)
    created_at: datetime = _time(now=True)


class ApiKey(SQLModel, table=True):
    """A key's SHA-256: the key itself is shown once, when it is made. `prefix` is what people recognise it by."""

    __tablename__ = "api_key"
    id: UUID = Field(primary_key=True)
    tenant: str = Field(foreign_key="tenant.id", ondelete="CASCADE", sa_type=Text)
    name: str = Field(sa_type=Text)
    prefix: str = Field(sa_type=Text)
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    created_at: datetime = _time(now=True)
    revoked_at: datetime | None = _time(null=True)


class Job(SQLModel, table=True):
    """A job, from submission to its end; the row is the truth, a message only points to it.

    `epoch` grows with every claim and fences off stale workers. `attempt` counts tries of the present stage. `due_at`:
    since when it is queued, or until when it waits. `summoned_at`: when its last message entered the outbox.
    `waiting`: a running job without a worker, whose children are at work.
    """

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(f"state IN ({_states(*JobState)})", name="job_state"),
        Index(
            "job_idempotency",
            "tenant",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index("job_newest", "tenant", "id"),
        Index("job_children", "parent", "state", postgresql_where=text("parent IS NOT NULL")),
        Index(
            "job_queued",
            "summoned_at",
            postgresql_include=["kind", "stage", "lane", "due_at"],
            postgresql_where=text("state = 'queued'"),
        ),
        Index("job_retry_wait", "due_at", postgresql_where=text("state = 'retry_wait'")),
        Index("job_leased", "lease_until", postgresql_where=text("state = 'running' AND lease_until IS NOT NULL")),
        Index("job_waiting", "id", postgresql_where=text("waiting")),
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
    state: str = Field(sa_column=Column(Text, nullable=False, server_default="queued"))
    waiting: bool = Field(sa_column_kwargs={"server_default": text("false")})
    cancel_requested: bool = Field(sa_column_kwargs={"server_default": text("false")})
    epoch: int = Field(sa_column_kwargs={"server_default": text("0")})
    attempt: int = Field(sa_column_kwargs={"server_default": text("0")})
    max_attempts: int
    timeout_s: float | None
    input: Any = _json(null=False)
    carry: Any = _json()
    result: Any = _json()
    error: Any = _json()
    metadata_: Any = Field(sa_column=Column("metadata", JSONB, nullable=False, server_default=text("'{}'")))
    progress_done: int = Field(sa_column_kwargs={"server_default": text("0")})
    progress_total: int = Field(sa_column_kwargs={"server_default": text("0")})
    progress_message: str | None = Field(sa_type=Text)
    parent: UUID | None = Field(foreign_key="job.id", ondelete="CASCADE")
    idempotency_key: str | None = Field(sa_type=Text)
    fingerprint: bytes | None = Field(sa_column=Column(LargeBinary))
    traceparent: str | None = Field(sa_type=Text)
    worker: str | None = Field(sa_type=Text)
    created_at: datetime = _time(now=True)
    due_at: datetime = _time(now=True)
    summoned_at: datetime = _time(now=True)
    lease_until: datetime | None = _time(null=True)
    started_at: datetime | None = _time(null=True)
    finished_at: datetime | None = _time(null=True)
    expires_at: datetime | None = _time(null=True)


class JobEvent(SQLModel, table=True):
    """What happened to a job: its history, read by the event stream. `id` grows within a job."""

    __tablename__ = "job_event"
    __table_args__ = (PrimaryKeyConstraint("job_id", "id"),)
    job_id: UUID = Field()
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), nullable=False))
    type: str = Field(sa_type=Text)
    at: datetime = _time(now=True)
    data: Any = _json(null=False)


class Outbox(SQLModel, table=True):
    """Messages to be: written in the commit that makes them true, deleted when Kafka has acknowledged them."""

    __tablename__ = "outbox"
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    job_id: UUID
    kind: str = Field(sa_type=Text)
    stage: str = Field(sa_type=Text)
    lane: str = Field(sa_type=Text)
    epoch: int
    traceparent: str | None = Field(sa_type=Text)
    created_at: datetime = _time(now=True)


class File(SQLModel, table=True):
    """An uploaded or produced file; its bytes lie in object storage under `blob`."""

    __tablename__ = "file"
    __table_args__ = (Index("file_newest", "tenant", "id"),)
    id: UUID = Field(primary_key=True)
    tenant: str = Field(sa_type=Text)
    filename: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    content_type: str = Field(sa_type=Text)
    bytes: int = Field(sa_type=BigInteger)
    sha256: str = Field(sa_type=Text)
    blob: str = Field(sa_type=Text)
    created_at: datetime = _time(now=True)


class Collection(SQLModel, table=True):
    """A set of documents that is searched together, and the encoders its vectors were made with."""

    __tablename__ = "collection"
    tenant: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    encoder: str = Field(sa_type=Text)
    embedder: str | None = Field(sa_type=Text)
    created_at: datetime = _time(now=True)


class Document(SQLModel, table=True):
    """A document that is indexed. `content_hash` covers its text and every setting that shapes its vectors."""

    __tablename__ = "document"
    tenant: str = Field(primary_key=True, sa_type=Text)
    collection: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    content_hash: str = Field(sa_type=Text)
    chunks: int
    bytes: int = Field(sa_type=BigInteger)
    updated_at: datetime = _time(now=True)
