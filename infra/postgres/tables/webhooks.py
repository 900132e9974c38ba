"""Receivers of events, deliveries to them, and the attempts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, Column, Index, PrimaryKeyConstraint, Text, text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import json, time
from schemas.webhooks import DeliveryState

_STATES = ", ".join(f"'{state.value}'" for state in DeliveryState)


class WebhookEndpoint(SQLModel, table=True):
    """A tenant's receiver. `secret` signs its events; `previous_secret` signs them as well until `previous_until`.

    `failing_since` is when the present series of failures began. `disabled_reason` is `gone`, `failing` or `owner`.
    """

    __tablename__ = "webhook_endpoint"
    __table_args__ = (Index("webhook_endpoint_newest", "tenant", "id"),)
    id: UUID = Field(primary_key=True)
    tenant: str = Field(sa_type=Text)
    url: str = Field(sa_type=Text)
    description: str = Field(sa_column=Column(Text, nullable=False, server_default=""))
    events: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    secret: str = Field(sa_type=Text)
    previous_secret: str | None = Field(sa_type=Text)
    previous_until: datetime | None = time(null=True)
    created_at: datetime = time(now=True)
    failing_since: datetime | None = time(null=True)
    disabled_at: datetime | None = time(null=True)
    disabled_reason: str | None = Field(sa_type=Text)


class WebhookDelivery(SQLModel, table=True):
    """An event for one receiver, written in the commit that makes it true. Its id is the `webhook-id`.

    `endpoint` is null for a job's own receiver, whose address is then `url`. `destination` is the queue that the
    delivery belongs to: the endpoint's id, or the origin of `url`. `data` describes the job as it ended.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="webhook_delivery_state"),
        Index("webhook_delivery_pending", "destination", "due_at", postgresql_where=text("state = 'pending'")),
        Index("webhook_delivery_newest", "tenant", "id"),
        Index("webhook_delivery_endpoint", "endpoint", "id"),
        Index("webhook_delivery_job", "job_id"),
    )
    id: UUID = Field(primary_key=True, sa_column_kwargs={"server_default": text("uuidv7()")})
    tenant: str = Field(sa_type=Text)
    endpoint: UUID | None = Field(foreign_key="webhook_endpoint.id", ondelete="CASCADE")
    url: str | None = Field(sa_type=Text)
    destination: str = Field(sa_type=Text)
    job_id: UUID | None
    type: str = Field(sa_type=Text)
    data: Any = json(null=False)
    state: str = Field(sa_column=Column(Text, nullable=False, server_default=DeliveryState.PENDING.value))
    attempts: int = Field(sa_column_kwargs={"server_default": text("0")})
    created_at: datetime = time(now=True)
    due_at: datetime = time(now=True)
    ended_at: datetime | None = time(null=True)


class WebhookAttempt(SQLModel, table=True):
    """One request to a receiver, for the delivery log. `ms`: how long it took; `error`: why there is no `status`."""

    __tablename__ = "webhook_attempt"
    __table_args__ = (PrimaryKeyConstraint("delivery", "attempt"),)
    delivery: UUID = Field(foreign_key="webhook_delivery.id", ondelete="CASCADE")
    attempt: int
    at: datetime = time(now=True)
    status: int | None
    error: str | None = Field(sa_type=Text)
    answer: str | None = Field(sa_type=Text)
    ms: int
