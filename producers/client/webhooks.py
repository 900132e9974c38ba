"""`client.webhooks`: endpoints, signing secrets and the delivery log."""

from collections.abc import Sequence
from datetime import datetime

from producers.client.binding import AsynchronousPart, BlockingPart, Paging, call, pages
from producers.client.models import Deleted, Page
from producers.client.requests import Request, all_of, given, one, path
from producers.client.webhook_models import Delivery, Endpoint, LoggedDelivery, NewEndpoint, Replay, Secret


class WebhookCalls:
    """Who is notified when jobs end. Every method raises the same errors as the client's own methods."""

    @call
    def create(
        self, url: str, *, events: Sequence[str] | None = None, description: str | None = None
    ) -> Request[NewEndpoint]:
        """A receiver of the ends of all jobs; `events` such as `job.failed`, all when absent.

        Keep the answer's `secret`: it is never shown again.
        """
        body = given(url=url, events=_listed(events), description=description)
        # Not repeatable: a second endpoint would get every event twice.
        return Request("POST", path("webhooks"), one(NewEndpoint), json=body, repeatable=False)

    @call
    def endpoints(self) -> Request[list[Endpoint]]:
        """Every endpoint, newest first."""
        return Request("GET", path("webhooks"), all_of(Page[Endpoint]))

    @call
    def endpoint(self, id: str) -> Request[Endpoint]:
        """An endpoint's present state."""
        return Request("GET", path("webhooks", id), one(Endpoint))

    @call
    def change(
        self,
        id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
    ) -> Request[Endpoint]:
        """Change the given fields."""
        body = given(url=url, events=_listed(events), description=description)
        return Request("PATCH", path("webhooks", id), one(Endpoint), json=body)

    @call
    def enable(self, id: str) -> Request[Endpoint]:
        """Enable it again and forget its failures. `replay_failed` sends failed deliveries again."""
        return Request("PATCH", path("webhooks", id), one(Endpoint), json={"enabled": True})

    @call
    def disable(self, id: str) -> Request[Endpoint]:
        """Disable it: nothing more is sent to it."""
        return Request("PATCH", path("webhooks", id), one(Endpoint), json={"enabled": False})

    @call
    def remove(self, id: str) -> Request[Deleted]:
        """Remove an endpoint with its deliveries."""
        return Request("DELETE", path("webhooks", id), one(Deleted))

    @call
    def rotate(self, id: str, overlap_s: float | None = None) -> Request[Secret]:
        """A new secret for an endpoint; the former one signs beside it for `overlap_s`, 0 to 604,800; a day."""
        return _new_secret(path("webhooks", id, "rotate"), overlap_s)

    @call
    def make_secret(self, overlap_s: float | None = None) -> Request[Secret]:
        """A new secret for receivers that jobs name themselves; `overlap_s` as for `rotate`."""
        return _new_secret(path("webhooks", "secret"), overlap_s)

    @call
    def send_test(self, id: str) -> Request[Delivery]:
        """Send an event of type `webhook.test` to an endpoint."""
        return Request("POST", path("webhooks", id, "test"), one(Delivery), repeatable=False)

    @call
    def deliveries(
        self,
        endpoint: str | None = None,
        *,
        state: str | None = None,
        job: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Request[Page[Delivery]]:
        """A page of deliveries, newest first: all, an endpoint's or a job's. `state`: pending, delivered, failed.

        Raises `ValueError` for an endpoint and a job.
        """
        return _deliveries(endpoint, state=state, job=job, after=after, limit=limit)

    @pages
    def iterate_deliveries(
        self, endpoint: str | None = None, *, state: str | None = None, job: str | None = None
    ) -> Paging[Delivery]:
        """Every such delivery, newest first, a page at a time."""
        return lambda after: _deliveries(endpoint, state=state, job=job, after=after, limit=100)

    @call
    def delivery(self, id: str) -> Request[LoggedDelivery]:
        """A delivery with each attempt."""
        return Request("GET", path("webhooks", "deliveries", id), one(LoggedDelivery))

    @call
    def replay(self, id: str) -> Request[LoggedDelivery]:
        """Send a delivery again now, under the same id; an `ApiError` of status 409 when its endpoint is disabled."""
        return Request("POST", path("webhooks", "deliveries", id, "replay"), one(LoggedDelivery))

    @call
    def replay_failed(self, endpoint: str, since: datetime) -> Request[Replay]:
        """Send an endpoint's failed events since then again, at most 1,000; while `has_more`, repeat.

        A time without a zone is a local one.
        """
        body = {"since": since.astimezone().isoformat()}
        return Request("POST", path("webhooks", endpoint, "replay"), one(Replay), json=body)


class Webhooks(WebhookCalls, BlockingPart):
    """`Client.webhooks`."""


class AsyncWebhooks(WebhookCalls, AsynchronousPart):
    """`AsyncClient.webhooks`."""


def _listed(events: Sequence[str] | None) -> list[str] | None:
    return None if events is None else list(events)


def _new_secret(path: str, overlap_s: float | None) -> Request[Secret]:
    # Not repeatable: the former secret would become invalid at once.
    return Request("POST", path, one(Secret), json=given(overlap_s=overlap_s), repeatable=False)


def _deliveries(
    endpoint: str | None, *, state: str | None, job: str | None, after: str | None, limit: int | None
) -> Request[Page[Delivery]]:
    if endpoint is not None and job is not None:
        raise ValueError("deliveries are listed by endpoint or by job, not by both")
    where = path("webhooks", "deliveries") if endpoint is None else path("webhooks", endpoint, "deliveries")
    return Request("GET", where, one(Page[Delivery]), params=given(state=state, job=job, after=after, limit=limit))
