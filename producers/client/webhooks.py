"""`client.webhooks`: endpoints, signing secrets and the delivery log, for either client."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from producers.client import webhook_requests as requests
from producers.client.models import Deleted, Page
from producers.client.requests import Request
from producers.client.webhook_models import Delivery, Endpoint, LoggedDelivery, NewEndpoint, Replay, Secret

T = TypeVar("T")


class _Send(Protocol):
    def __call__(self, request: Request[T]) -> T: ...


class _SendAsync(Protocol):
    async def __call__(self, request: Request[T]) -> T: ...


class Webhooks:
    """Who is told when jobs end. Every method raises what the client's own methods raise."""

    def __init__(self, send: _Send) -> None:
        self._send = send

    def create(self, url: str, *, events: Sequence[str] | None = None, description: str | None = None) -> NewEndpoint:
        """A receiver of the ends of all jobs; `events` such as `job.failed`, all when absent.

        Keep the answer's `secret`: it is never shown again.
        """
        return self._send(requests.create(url, events=events, description=description))

    def endpoints(self) -> list[Endpoint]:
        """Every endpoint, newest first."""
        return self._send(requests.endpoints()).data

    def endpoint(self, id: str) -> Endpoint:
        """An endpoint as it stands."""
        return self._send(requests.endpoint(id))

    def change(
        self,
        id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
    ) -> Endpoint:
        """Change what is given."""
        return self._send(requests.change(id, url=url, events=events, description=description, enabled=None))

    def enable(self, id: str) -> Endpoint:
        """Send to it again, its failures forgiven. What failed before is sent again by `replay_failed`."""
        return self._send(requests.change(id, url=None, events=None, description=None, enabled=True))

    def disable(self, id: str) -> Endpoint:
        """Tell it nothing more."""
        return self._send(requests.change(id, url=None, events=None, description=None, enabled=False))

    def remove(self, id: str) -> Deleted:
        """Remove an endpoint with its deliveries."""
        return self._send(requests.remove(id))

    def rotate(self, id: str, overlap_s: float | None = None) -> Secret:
        """A new secret for an endpoint; the former one signs beside it for `overlap_s`, 0 to 604,800; a day."""
        return self._send(requests.rotate(id, overlap_s))

    def make_secret(self, overlap_s: float | None = None) -> Secret:
        """A new secret for receivers that jobs name themselves; `overlap_s` as for `rotate`."""
        return self._send(requests.make_secret(overlap_s))

    def send_test(self, id: str) -> Delivery:
        """Send an event of type `webhook.test` to an endpoint."""
        return self._send(requests.send_test(id))

    def deliveries(
        self,
        endpoint: str | None = None,
        *,
        state: str | None = None,
        job: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Delivery]:
        """A page of deliveries, newest first: all, an endpoint's or a job's. `state`: pending, delivered, failed."""
        return self._send(requests.deliveries(endpoint, state=state, job=job, after=after, limit=limit))

    def iterate_deliveries(
        self, endpoint: str | None = None, *, state: str | None = None, job: str | None = None
    ) -> Iterator[Delivery]:
        """Every such delivery, newest first, a page at a time."""
        after: str | None = None
        while True:
            page = self.deliveries(endpoint, state=state, job=job, after=after, limit=100)
            yield from page.data
            if not page.has_more or not page.data:
                return
            after = page.data[-1].id

    def delivery(self, id: str) -> LoggedDelivery:
        """A delivery with each attempt."""
        return self._send(requests.delivery(id))

    def replay(self, id: str) -> LoggedDelivery:
        """Send a delivery again now, under the same id; an `ApiError` of status 409 when its endpoint is disabled."""
        return self._send(requests.replay(id))

    def replay_failed(self, endpoint: str, since: datetime) -> Replay:
        """Send again what failed of an endpoint's events since then, at most 1,000; while `has_more`, repeat.

        A time without a zone is a local one.
        """
        return self._send(requests.replay_failed(endpoint, since))


class AsyncWebhooks:
    """As `Webhooks`, for asyncio; a test holds the two equal."""

    def __init__(self, send: _SendAsync) -> None:
        self._send = send

    async def create(
        self, url: str, *, events: Sequence[str] | None = None, description: str | None = None
    ) -> NewEndpoint:
        """As `Webhooks.create`."""
        return await self._send(requests.create(url, events=events, description=description))

    async def endpoints(self) -> list[Endpoint]:
        """As `Webhooks.endpoints`."""
        return (await self._send(requests.endpoints())).data

    async def endpoint(self, id: str) -> Endpoint:
        """As `Webhooks.endpoint`."""
        return await self._send(requests.endpoint(id))

    async def change(
        self,
        id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
    ) -> Endpoint:
        """As `Webhooks.change`."""
        wanted = requests.change(id, url=url, events=events, description=description, enabled=None)
        return await self._send(wanted)

    async def enable(self, id: str) -> Endpoint:
        """As `Webhooks.enable`."""
        return await self._send(requests.change(id, url=None, events=None, description=None, enabled=True))

    async def disable(self, id: str) -> Endpoint:
        """As `Webhooks.disable`."""
        return await self._send(requests.change(id, url=None, events=None, description=None, enabled=False))

    async def remove(self, id: str) -> Deleted:
        """As `Webhooks.remove`."""
        return await self._send(requests.remove(id))

    async def rotate(self, id: str, overlap_s: float | None = None) -> Secret:
        """As `Webhooks.rotate`."""
        return await self._send(requests.rotate(id, overlap_s))

    async def make_secret(self, overlap_s: float | None = None) -> Secret:
        """As `Webhooks.make_secret`."""
        return await self._send(requests.make_secret(overlap_s))

    async def send_test(self, id: str) -> Delivery:
        """As `Webhooks.send_test`."""
        return await self._send(requests.send_test(id))

    async def deliveries(
        self,
        endpoint: str | None = None,
        *,
        state: str | None = None,
        job: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Delivery]:
        """As `Webhooks.deliveries`."""
        return await self._send(requests.deliveries(endpoint, state=state, job=job, after=after, limit=limit))

    async def iterate_deliveries(
        self, endpoint: str | None = None, *, state: str | None = None, job: str | None = None
    ) -> AsyncIterator[Delivery]:
        """As `Webhooks.iterate_deliveries`."""
        after: str | None = None
        while True:
            page = await self.deliveries(endpoint, state=state, job=job, after=after, limit=100)
            for delivery in page.data:
                yield delivery
            if not page.has_more or not page.data:
                return
            after = page.data[-1].id

    async def delivery(self, id: str) -> LoggedDelivery:
        """As `Webhooks.delivery`."""
        return await self._send(requests.delivery(id))

    async def replay(self, id: str) -> LoggedDelivery:
        """As `Webhooks.replay`."""
        return await self._send(requests.replay(id))

    async def replay_failed(self, endpoint: str, since: datetime) -> Replay:
        """As `Webhooks.replay_failed`."""
        return await self._send(requests.replay_failed(endpoint, since))
