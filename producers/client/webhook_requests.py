"""Every call of `/v1/webhooks` as a value: what to send, and how to read the answer. Does no I/O."""

from collections.abc import Sequence
from datetime import datetime

from producers.client.models import Deleted, Page
from producers.client.requests import Request, given, one, path
from producers.client.webhook_models import Delivery, Endpoint, LoggedDelivery, NewEndpoint, Replay, Secret


def create(url: str, *, events: Sequence[str] | None, description: str | None) -> Request[NewEndpoint]:
    """`POST /v1/webhooks`. Not repeatable: a second endpoint would be told everything twice."""
    body = given(url=url, events=None if events is None else list(events), description=description)
    return Request("POST", "/v1/webhooks", one(NewEndpoint), json=body, repeatable=False)


def endpoints() -> Request[Page[Endpoint]]:
    """`GET /v1/webhooks`."""
    return Request("GET", "/v1/webhooks", one(Page[Endpoint]))


def endpoint(id: str) -> Request[Endpoint]:
    """`GET /v1/webhooks/{id}`."""
    return Request("GET", path("webhooks", id), one(Endpoint))


def change(
    id: str, *, url: str | None, events: Sequence[str] | None, description: str | None, enabled: bool | None
) -> Request[Endpoint]:
    """`PATCH /v1/webhooks/{id}`."""
    events = None if events is None else list(events)
    body = given(url=url, events=events, description=description, enabled=enabled)
    return Request("PATCH", path("webhooks", id), one(Endpoint), json=body)


def remove(id: str) -> Request[Deleted]:
    """`DELETE /v1/webhooks/{id}`."""
    return Request("DELETE", path("webhooks", id), one(Deleted))


def rotate(id: str, overlap_s: float | None) -> Request[Secret]:
    """`POST /v1/webhooks/{id}/rotate`. Not repeatable: the secret before the last one would be worthless at once."""
    return Request(
        "POST", path("webhooks", id, "rotate"), one(Secret), json=given(overlap_s=overlap_s), repeatable=False
    )


def make_secret(overlap_s: float | None) -> Request[Secret]:
    """`POST /v1/webhooks/secret`. Not repeatable, as `rotate`."""
    return Request("POST", "/v1/webhooks/secret", one(Secret), json=given(overlap_s=overlap_s), repeatable=False)


def send_test(id: str) -> Request[Delivery]:
    """`POST /v1/webhooks/{id}/test`."""
    return Request("POST", path("webhooks", id, "test"), one(Delivery), repeatable=False)


def deliveries(
    endpoint: str | None, *, state: str | None, job: str | None, after: str | None, limit: int | None
) -> Request[Page[Delivery]]:
    """`GET /v1/webhooks/deliveries`, or those of an endpoint. Raises `ValueError` for an endpoint and a job."""
    if endpoint is not None and job is not None:
        raise ValueError("deliveries are listed by endpoint or by job, not by both")
    where = "/v1/webhooks/deliveries" if endpoint is None else path("webhooks", endpoint, "deliveries")
    return Request("GET", where, one(Page[Delivery]), params=given(state=state, job=job, after=after, limit=limit))


def delivery(id: str) -> Request[LoggedDelivery]:
    """`GET /v1/webhooks/deliveries/{id}`."""
    return Request("GET", path("webhooks", "deliveries", id), one(LoggedDelivery))


def replay(id: str) -> Request[LoggedDelivery]:
    """`POST /v1/webhooks/deliveries/{id}/replay`."""
    return Request("POST", path("webhooks", "deliveries", id, "replay"), one(LoggedDelivery))


def replay_failed(id: str, since: datetime) -> Request[Replay]:
    """`POST /v1/webhooks/{id}/replay`. A time without a zone is a local one."""
    return Request("POST", path("webhooks", id, "replay"), one(Replay), json={"since": since.astimezone().isoformat()})
