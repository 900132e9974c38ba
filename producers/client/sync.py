"""`Client`: how the blocking client sends its calls and streams."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import stamina

from producers.client import connection, requests, uploads
from producers.client.adapters import Adapters
from producers.client.aliases import Models
from producers.client.batches import Batches
from producers.client.benchmarks import BenchmarkCalls
from producers.client.binding import Blocking
from producers.client.calls import ClientCalls
from producers.client.datasets import DatasetCalls
from producers.client.dead import DeadLetters
from producers.client.errors import StreamBroken, WaitTimeout
from producers.client.evaluations import EvaluationCalls
from producers.client.events import Event, EventCursor
from producers.client.requests import OnDisconnect, Request
from producers.client.searches import HyperparameterCalls
from producers.client.text import StreamedText, TextStream
from producers.client.trainings import TrainingCalls
from producers.client.webhooks import Webhooks

T = TypeVar("T")


class Client(ClientCalls, BenchmarkCalls, DatasetCalls, EvaluationCalls, HyperparameterCalls, TrainingCalls, Blocking):
    """A WeLIP server, over HTTP. Use it as a context manager, or call `close()`; it may be shared between threads.

    Without `base_url` and `api_key` WELIP_URL and WELIP_API_KEY count, then http://127.0.0.1:8080 and no key.
    `timeout`: seconds for each step of a request. `retry_for_s`: how long to retry when nobody answers or the server
    asks to wait (429, 503); 0 means one try. Every submission has an idempotency key, so retries are safe.

    `adapters`, `models`, `batches`, `webhooks` and `dead` (letters) hold the calls about those. Every method raises
    `ApiError`, `ConnectionFailed` or `UnexpectedAnswer`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retry_for_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = connection.resolve_url(base_url)
        self.timeout = timeout
        self.retry_for_s = retry_for_s
        self._http = httpx.Client(
            base_url=self.url, headers=connection.default_headers(api_key), transport=transport, timeout=timeout
        )
        self.adapters = Adapters(self)
        self.batches = Batches(self)
        self.webhooks = Webhooks(self)
        self.dead = DeadLetters(self)
        self.models = Models(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def events(self, id: str, after: int | None = None) -> Iterator[Event]:
        """The job's events, from the first or from the one after number `after`, until it has ended.

        A broken stream is opened again where it broke.
        """
        return self._events(EventCursor(id, after), "continue")

    def stream(
        self,
        id: str,
        *,
        timeout: float | None = None,
        on_restart: Callable[[], None] | None = None,
        on_disconnect: OnDisconnect = "continue",
    ) -> TextStream:
        """The text of a job that was submitted with `stream`, piece by piece, from its beginning to the job's end.

            for piece in (stream := client.stream(job.id)):
                print(piece, end="", flush=True)
            print(stream.job.state)

        A broken connection is opened again where it broke. When a worker dies, another one writes the text again: as
        long as it is the same, nothing is given twice. When it differs, `on_restart` is called and it is given from its
        beginning; without `on_restart` this raises `StreamRestarted`. After `timeout` seconds it raises `WaitTimeout`,
        and the job continues. `on_disconnect="cancel"`: the job is cancelled when this connection closes before it
        ends, even if it only broke; not together with `timeout`.
        """
        cursor = EventCursor(id, timeout=timeout)
        if timeout is not None and on_disconnect == "cancel":
            raise ValueError("`timeout` closes the connection, and so would cancel the job: give one of the two")
        events = self._events(cursor, on_disconnect)
        return TextStream(events, lambda: self.job(id), StreamedText(id, on_restart))

    def _events(self, cursor: EventCursor, on_disconnect: OnDisconnect) -> Generator[Event, None, None]:
        while not cursor.ended:
            if cursor.too_late:
                raise WaitTimeout(self.job(cursor.job), cursor.timeout or 0)
            cursor.connected()
            try:
                request = requests.events(cursor.job, cursor.last, on_disconnect)
                with self._stream(request, read_timeout=cursor.silence_s) as answer:
                    for sse in connection.event_source(answer).iter_sse():
                        if event := cursor.read(sse):
                            yield event
                        if cursor.ended:
                            return
                        if cursor.too_late:
                            break
            except StreamBroken:
                pass
            else:
                if not cursor.progressed and self.job(cursor.job).ended:
                    return
            if not cursor.too_late:
                time.sleep(cursor.pause_s)

    def download(self, id: str, to: str | Path) -> Path:
        """Stream a file's content to the path `to`, which appears whole or not at all."""
        with self._stream(requests.file_content(id)) as answer, uploads.replacing(Path(to)) as file:
            for piece in answer.iter_bytes():
                file.write(piece)
        return Path(to)

    def _send(self, request: Request[T]) -> T:
        hook = connection.may_retry(request, self.retry_for_s)
        for attempt in stamina.retry_context(on=hook, **connection.retry_times(self.retry_for_s)):
            with attempt:
                try:
                    answer = self._http.send(connection.build(self._http, request, self.timeout))
                except httpx.TransportError as error:
                    raise connection.failure(error, self.url) from error
                return connection.read(request, answer)
        raise AssertionError("a retry context ends with a result or an error")

    @contextmanager
    def _stream(self, request: Request[Any], *, read_timeout: float | None = None) -> Iterator[httpx.Response]:
        hook = connection.may_retry(request, self.retry_for_s)
        for attempt in stamina.retry_context(on=hook, **connection.retry_times(self.retry_for_s)):
            with attempt:
                try:
                    answer = self._http.send(
                        connection.build(self._http, request, read_timeout or self.timeout), stream=True
                    )
                    if not answer.is_success:
                        answer.read()
                        connection.check(answer)
                except httpx.TransportError as error:
                    raise connection.failure(error, self.url) from error
        try:
            yield answer
        except httpx.TransportError as error:
            raise connection.failure(error, self.url, midway=True) from error
        finally:
            answer.close()
