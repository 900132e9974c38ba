"""`client.batches`: many requests in a file, and files of what became of them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import ConfigDict

from producers.client import requests, uploads
from producers.client.binding import AsynchronousPart, BlockingPart, Paging, call, pages
from producers.client.flows import Flow, Pause
from producers.client.models import TOLERANT, File, Page
from producers.client.requests import Request, given, one, path
from producers.client.uploads import SentWatcher, Source
from schemas.batches.views import BatchView

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


class Batch(BatchView):
    """A batch as the server sees it at this moment."""

    model_config = ConfigDict(**TOLERANT)

    @property
    def ended(self) -> bool:
        """Whether it will not change again."""
        return self.status in ENDED


BatchWatcher: TypeAlias = Callable[[Batch], None]


class BatchCalls:
    """Batches. Every method raises the same errors as the client's own methods."""

    @call
    def create(
        self,
        source: Source,
        *,
        endpoint: str = "/v1/jobs",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        webhook: Mapping[str, Any] | None = None,
        progress: SentWatcher | None = None,
    ) -> Flow[Batch]:
        """Upload the requests, one a line, and make a batch of them.

        `completion_window`: `1s` to `30d`. `progress` is called with the bytes sent so far.
        """
        with uploads.opened(source, None, progress) as (name, file):
            sent: File = yield requests.upload(name, file, "batch")
        body = given(
            input_file_id=sent.id,
            endpoint=endpoint,
            completion_window=completion_window,
            metadata=metadata,
            webhook=webhook,
        )
        # The file is new, so its id makes the request safe to repeat.
        made: Batch = yield Request(
            "POST", path("batches"), one(Batch), json=body, headers={"Idempotency-Key": sent.id}
        )
        return made

    @call
    def get(self, id: str) -> Request[Batch]:
        """The batch's present state."""
        return _get(id)

    @call
    def list(self, *, after: str | None = None, limit: int | None = None) -> Request[Page[Batch]]:
        """A page of batches, newest first; `after` is the last id of the previous page, `limit` 1 to 100."""
        return _page(after, limit)

    @pages
    def iterate(self) -> Paging[Batch]:
        """Every batch, newest first, a page at a time."""
        return lambda after: _page(after, 100)

    @call
    def cancel(self, id: str) -> Request[Batch]:
        """Cancel what is not done. Raises `ApiError` with status 409 when nothing is left to cancel."""
        return Request("POST", path("batches", id, "cancel"), one(Batch))

    @call
    def pause(self, id: str, *, reason: str | None = None) -> Request[Batch]:
        """Begin no more lines; what runs ends, and the window goes on. `reason`: for the events of the batch's job.

        Raises `ApiError` with status 409 when the batch has ended.
        """
        return requests.pause("batches", Batch, id, reason)

    @call
    def resume(self, id: str, *, reason: str | None = None) -> Request[Batch]:
        """Go on with the lines of a paused batch. Raises as `pause` does."""
        return requests.resume("batches", Batch, id, reason)

    @call
    def steer(self, id: str, settings: Mapping[str, Any], *, reason: str | None = None) -> Request[Batch]:
        """Change how the lines are taken up: `weight` (1 to 100), `at_once`, `deadline`.

        What `settings` leave out stays; None takes a limit or a deadline away. Raises as `pause` does.
        """
        return requests.steer("batches", Batch, id, settings, reason)

    @call
    def retry_failed(self, id: str) -> Request[Batch]:
        """A new batch of the lines that failed or were cut off.

        Raises `ApiError` with status 409 when there are none, or while the batch runs.
        """
        return Request("POST", path("batches", id, "retry_failed"), one(Batch), repeatable=False)

    @call
    def wait(self, id: str, *, every_s: float = 1.0, on_change: BatchWatcher | None = None) -> Flow[Batch]:
        """The batch once it has ended, however it ended; `on_change` is called with each new view of it."""
        seen: Batch | None = None
        while True:
            found: Batch = yield _get(id)
            if on_change and found != seen:
                on_change(found)
            seen = found
            if found.ended:
                return found
            yield Pause(every_s)


def _get(id: str) -> Request[Batch]:
    return Request("GET", path("batches", id), one(Batch))


def _page(after: str | None, limit: int | None) -> Request[Page[Batch]]:
    return Request("GET", path("batches"), one(Page[Batch]), params=given(after=after, limit=limit))


class Batches(BatchCalls, BlockingPart):
    """`Client.batches`."""


class AsyncBatches(BatchCalls, AsynchronousPart):
    """`AsyncClient.batches`."""
