"""`AsyncClient`: how the asyncio client sends its calls and streams."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import stamina

from producers.client import connection, requests, uploads
from producers.client.adapters import AsyncAdapters
from producers.client.aliases import AsyncModels
from producers.client.batches import AsyncBatches
from producers.client.benchmarks import BenchmarkCalls
from producers.client.binding import Asynchronous
from producers.client.calls import ClientCalls
from producers.client.datasets import DatasetCalls
from producers.client.dead import AsyncDeadLetters
from producers.client.errors import StreamBroken, WaitTimeout
from producers.client.evaluations import EvaluationCalls
from producers.client.events import Event, EventCursor
from producers.client.requests import OnDisconnect, Request
from producers.client.searches import HyperparameterCalls
from producers.client.text import AsyncTextStream, StreamedText
from producers.client.trainings import TrainingCalls
from producers.client.webhooks import AsyncWebhooks

T = TypeVar("T")


class AsyncClient(
    ClientCalls, BenchmarkCalls, DatasetCalls, EvaluationCalls, HyperparameterCalls, TrainingCalls, Asynchronous
):
    """A WeLIP server over HTTP, like `Client`. Use it as an async context manager, or await `aclose()`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retry_for_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = connection.resolve_url(base_url)
        self.timeout = timeout
        self.retry_for_s = retry_for_s
        self._http = httpx.AsyncClient(
            base_url=self.url, headers=connection.default_headers(api_key), transport=transport, timeout=timeout
        )
        self.adapters = AsyncAdapters(self)
        self.batches = AsyncBatches(self)
        self.webhooks = AsyncWebhooks(self)
        self.dead = AsyncDeadLetters(self)
        self.models = AsyncModels(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def events(self, id: str, after: int | None = None) -> AsyncIterator[Event]:
        """Like `Client.events`."""
        return self._events(EventCursor(id, after), "continue")

    def stream(
        self,
        id: str,
        *,
        timeout: float | None = None,
        on_restart: Callable[[], None] | None = None,
        on_disconnect: OnDisconnect = "continue",
    ) -> AsyncTextStream:
        """Like `Client.stream`: `async for piece in client.stream(job.id)`."""
        cursor = EventCursor(id, timeout=timeout)
        if timeout is not None and on_disconnect == "cancel":
            raise ValueError("`timeout` closes the connection, and so would cancel the job: give one of the two")
        events = self._events(cursor, on_disconnect)
        return AsyncTextStream(events, lambda: self.job(id), StreamedText(id, on_restart))

    async def _events(self, cursor: EventCursor, on_disconnect: OnDisconnect) -> AsyncGenerator[Event]:
        while not cursor.ended:
            if cursor.too_late:
                raise WaitTimeout(await self.job(cursor.job), cursor.timeout or 0)
            cursor.connected()
            try:
                request = requests.events(cursor.job, cursor.last, on_disconnect)
                async with self._stream(request, read_timeout=cursor.silence_s) as answer:
                    async for sse in connection.event_source(answer).aiter_sse():
                        if event := cursor.read(sse):
                            yield event
                        if cursor.ended:
                            return
                        if cursor.too_late:
                            break
            except StreamBroken:
                pass
            else:
                if not cursor.progressed and (await self.job(cursor.job)).ended:
                    return
            if not cursor.too_late:
                await asyncio.sleep(cursor.pause_s)

    async def download(self, id: str, to: str | Path) -> Path:
        """Like `Client.download`."""
        async with self._stream(requests.file_content(id)) as answer:
            with uploads.replacing(Path(to)) as file:
                async for piece in answer.aiter_bytes():
                    file.write(piece)
        return Path(to)

    async def _send(self, request: Request[T]) -> T:
        hook = connection.may_retry(request, self.retry_for_s)
        async for attempt in stamina.retry_context(on=hook, **connection.retry_times(self.retry_for_s)):
            with attempt:
                try:
                    answer = await self._http.send(connection.build(self._http, request, self.timeout))
                except httpx.TransportError as error:
                    raise connection.failure(error, self.url) from error
                return connection.read(request, answer)
        raise AssertionError("a retry context ends with a result or an error")

    @asynccontextmanager
    async def _stream(
        self, request: Request[Any], *, read_timeout: float | None = None
    ) -> AsyncIterator[httpx.Response]:
        hook = connection.may_retry(request, self.retry_for_s)
        async for attempt in stamina.retry_context(on=hook, **connection.retry_times(self.retry_for_s)):
            with attempt:
                try:
                    answer = await self._http.send(
                        connection.build(self._http, request, read_timeout or self.timeout), stream=True
                    )
                    if not answer.is_success:
                        await answer.aread()
                        connection.check(answer)
                except httpx.TransportError as error:
                    raise connection.failure(error, self.url) from error
        try:
            yield answer
        except httpx.TransportError as error:
            raise connection.failure(error, self.url, midway=True) from error
        finally:
            await answer.aclose()
