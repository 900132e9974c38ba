"""Webhooks as clients and receivers see them (https://www.standardwebhooks.com): events, endpoints, deliveries."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from schemas.aliases import EVENTS as ALIAS_EVENTS
from schemas.kinds.registry import KINDS
from schemas.names import no_control_characters


class DeliveryState(StrEnum):
    """Where a delivery is: `pending` until the receiver accepted it, or until further attempts are pointless."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


EVENTS: Final = (*dict.fromkeys(event for kind in KINDS.values() for event in kind.events), *ALIAS_EVENTS)
"""Every event type that receivers may ask for. Children send no events."""

TEST_EVENT: Final = "webhook.test"
"""The event that an owner sends to test an endpoint."""

MAX_ENDPOINTS: Final = 50
"""Endpoints of one tenant."""
REPLAY_AT_MOST: Final = 1000
"""Failed deliveries that one call sends again."""
DAY_S: Final = 24 * 3600


def events_of(kind: str) -> tuple[str, ...]:
    """The events of a job of this kind."""
    return KINDS[kind].events


def _known(event: str) -> str:
    if event not in EVENTS:
        raise ValueError(f"unknown event {event!r}: one of {', '.join(EVENTS)}")
    return event


def _once(events: list[str]) -> list[str]:
    return [event for event in EVENTS if event in events]


EventType = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(EVENTS)})]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=100), AfterValidator(_once)]
"""Event types, each once, in the order of `EVENTS`."""


def _text(value: object) -> object:
    if not isinstance(value, str | datetime):  # Pydantic takes a number for seconds since 1970
        raise ValueError("give a time as RFC 3339 has it: 2026-01-31T09:00:00Z")
    return value


Url = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2048),
    Field(json_schema_extra={"format": "uri"}),
]
Description = Annotated[str, StringConstraints(max_length=500), AfterValidator(no_control_characters)]


class JobWebhook(BaseModel):
    """A job's own receiver, notified of its end. The tenant's secret signs its events."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    events: EventTypes | None = Field(None, description="Absent: all that tell of this kind of job.")


class JobWebhookView(BaseModel):
    """Who is notified of a job's end, and of which ends."""

    url: str
    events: list[str]


class NewEndpoint(BaseModel):
    """A receiver to be notified of the ends of all the tenant's jobs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Url
    description: Description = ""
    events: EventTypes = Field(list(EVENTS), description="Absent: all.")


class EndpointChange(BaseModel):
    """Changes to an endpoint; absent or null fields stay. `enabled`: true forgives its failures."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Url | None = None
    description: Description | None = None
    events: EventTypes | None = None
    enabled: bool | None = None


class Rotation(BaseModel):
    """How long the former secret signs beside the new one; 0: it is invalid at once."""

    model_config = ConfigDict(extra="forbid", strict=True)

    overlap_s: float = Field(DAY_S, ge=0, le=7 * DAY_S, allow_inf_nan=False, description="Seconds.")


class Replay(BaseModel):
    """Send again the failed deliveries of events since then."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[AwareDatetime, BeforeValidator(_text)] = Field(
        description="With its zone, as in 2026-01-31T09:00:00Z.",
        ge=datetime(2000, 1, 1, tzinfo=UTC),
        lt=datetime(3000, 1, 1, tzinfo=UTC),  # so that it is a time in every zone
    )


class EndpointView(BaseModel):
    """An endpoint. `disabled_reason`: `gone` (it answered 410), `failing` (for days), or `owner`.

    `previous_until`: until then the former secret signs beside the present one. `failing_since`: the first failure
    that no success has followed.
    """

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    description: str
    events: list[str]
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    previous_until: datetime | None
    created_at: datetime


class EndpointCreated(EndpointView):
    """An endpoint with its secret, which is never shown again."""

    secret: str = Field(repr=False)


class EndpointList(BaseModel):
    """A tenant's endpoints, newest first."""

    data: list[EndpointView]


class SecretView(BaseModel):
    """A new signing secret, which is never shown again. `previous_until`: how long the former one signs beside it."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: str = Field(repr=False)
    previous_until: datetime | None


class DeliveryView(BaseModel):
    """An event on its way to one receiver; `id` is the `webhook-id` that the receiver sees in every attempt.

    `endpoint` is null for a job's own receiver, `job` for a test. `attempts` counts since the last replay. `due_at`:
    when the next attempt is due, null once there is none. `data` is what the receiver gets.
    """

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    type: str
    state: DeliveryState
    endpoint: str | None
    url: str
    job: str | None
    attempts: int
    due_at: datetime | None
    created_at: datetime
    ended_at: datetime | None
    data: dict[str, Any]


class AttemptView(BaseModel):
    """One request to a receiver. `error`: why there is no `status`; `answer`: how the answer's body began."""

    attempt: int
    at: datetime
    status: int | None
    error: str | None
    answer: str | None
    ms: int


class DeliveryLog(DeliveryView):
    """A delivery with its attempts, the first one first."""

    log: list[AttemptView]


class DeliveryPage(BaseModel):
    """Deliveries, newest first; pass the last id as `after` for the next page."""

    data: list[DeliveryView]
    has_more: bool


class Replayed(BaseModel):
    """How many deliveries are sent again; `has_more`: call again, one call takes 1,000."""

    object: Literal["webhook_replay"] = "webhook_replay"
    replayed: int
    has_more: bool
