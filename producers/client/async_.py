"""`AsyncClient`: the client for asyncio. Method by method what `Client` is; a test holds the two equal."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx
import stamina

from producers.client import connection, flows, requests, uploads
from producers.client.dead import AsyncDeadLetters
from producers.client.errors import StreamBroken
from producers.client.events import Event, EventCursor
from producers.client.flows import Flow, JobWatcher, Pause
from producers.client.models import Answer, Collection, Deleted, File, Job, Page, SearchHit
from producers.client.requests import Request, SubmitOptions
from producers.client.uploads import SentWatcher, Source
from producers.client.webhooks import AsyncWebhooks

T = TypeVar("T")


class AsyncClient:
    """A WeLIP server, over HTTP, as `Client` is. Use it as an async context manager, or await `aclose()`."""

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
        self.webhooks = AsyncWebhooks(self._send)
        self.dead = AsyncDeadLetters(self._send)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def submit(self, kind: str, input: Mapping[str, Any], **options: Unpack[SubmitOptions]) -> Job:
        """As `Client.submit`."""
        return await self._send(requests.submit(kind, input, options))

    async def job(self, id: str) -> Job:
        """As `Client.job`."""
        return await self._send(requests.job(id))

    async def jobs(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        parent: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Job]:
        """As `Client.jobs`."""
        return await self._send(requests.jobs(kind=kind, state=state, parent=parent, after=after, limit=limit))

    async def iterate_jobs(
        self, *, kind: str | None = None, state: str | None = None, parent: str | None = None
    ) -> AsyncIterator[Job]:
        """As `Client.iterate_jobs`."""
        after: str | None = None
        while True:
            page = await self.jobs(kind=kind, state=state, parent=parent, after=after, limit=100)
            for job in page.data:
                yield job
            if not page.has_more or not page.data:
                return
            after = page.data[-1].id

    async def cancel(self, id: str) -> Job:
        """As `Client.cancel`."""
        return await self._send(requests.cancel(id))

    async def wait(self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None) -> Job:
        """As `Client.wait`."""
        return await self._run(flows.wait(id, timeout=timeout, on_change=on_change))

    async def result(self, id: str) -> Any:
        """As `Client.result`."""
        return await self._send(requests.result(id))

    async def events(self, id: str, after: int | None = None) -> AsyncIterator[Event]:
        """As `Client.events`."""
        cursor = EventCursor(id, after)
        while not cursor.ended:
            cursor.connected()
            try:
                async with self._stream(
                    requests.events(id, cursor.last), read_timeout=connection.STREAM_SILENCE_S
                ) as answer:
                    async for sse in connection.event_source(answer).aiter_sse():
                        if event := cursor.read(sse):
                            yield event
                        if cursor.ended:
                            return
            except StreamBroken:
                pass
            else:
                if not cursor.progressed and (await self.job(id)).ended:
                    return
            await asyncio.sleep(cursor.pause_s)

    async def upload(
        self,
        source: Source,
        purpose: str = "documents",
        *,
        filename: str | None = None,
        progress: SentWatcher | None = None,
    ) -> File:
        """As `Client.upload`."""
        with uploads.opened(source, filename, progress) as (name, file):
            return await self._send(requests.upload(name, file, purpose))

    async def files(self, *, after: str | None = None, limit: int | None = None) -> Page[File]:
        """As `Client.files`."""
        return await self._send(requests.files(after=after, limit=limit))

    async def file(self, id: str) -> File:
        """As `Client.file`."""
        return await self._send(requests.file(id))

    async def download(self, id: str, to: str | Path) -> Path:
        """As `Client.download`."""
        async with self._stream(requests.file_content(id)) as answer:
            with uploads.replacing(Path(to)) as file:
                async for piece in answer.aiter_bytes():
                    file.write(piece)
        return Path(to)

    async def delete_file(self, id: str) -> Deleted:
        """As `Client.delete_file`."""
        return await self._send(requests.delete_file(id))

    async def collections(self) -> list[Collection]:
        """As `Client.collections`."""
        return (await self._send(requests.collections())).data

    async def collection(self, name: str) -> Collection:
        """As `Client.collection`."""
        return await self._send(requests.collection(name))

    async def change_collection(
        self, name: str, settings: Mapping[str, Any] | None = None, *, rebuild: bool = False
    ) -> Job:
        """As `Client.change_collection`."""
        return await self._send(requests.change_collection(name, settings, rebuild=rebuild))

    async def delete_collection(self, name: str) -> Deleted:
        """As `Client.delete_collection`."""
        return await self._send(requests.delete_collection(name))

    async def delete_document(self, collection: str, id: str) -> Deleted:
        """As `Client.delete_document`."""
        return await self._send(requests.delete_document(collection, id))

    async def search(
        self,
        collection: str,
        query: str,
        *,
        top_k: int = 5,
        filter: Mapping[str, Any] | None = None,
        rerank: bool | None = None,
    ) -> list[SearchHit]:
        """As `Client.search`."""
        return await self._send(requests.search(collection, query, top_k=top_k, filter=filter, rerank=rerank))

    async def ask(
        self,
        collection: str,
        question: str,
        *,
        top_k: int = 5,
        filter: Mapping[str, Any] | None = None,
        rerank: bool | None = None,
        generate: Mapping[str, Any] | None = None,
        timeout: float = 120.0,
        on_submit: JobWatcher | None = None,
    ) -> Answer:
        """As `Client.ask`."""
        return await self._run(
            flows.ask(
                collection,
                question,
                top_k=top_k,
                filter=filter,
                rerank=rerank,
                generate=generate,
                timeout=timeout,
                on_submit=on_submit,
            )
        )

    async def index_documents(
        self,
        collection: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        chunking: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        on_submit: JobWatcher | None = None,
        **options: Unpack[SubmitOptions],
    ) -> list[Job]:
        """As `Client.index_documents`."""
        return await self._run(
            flows.index_documents(
                collection, documents, chunking=chunking, settings=settings, options=options, on_submit=on_submit
            )
        )

    async def index_corpus(
        self,
        collection: str,
        source: Source,
        columns: Mapping[str, Any],
        *,
        chunking: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        filename: str | None = None,
        progress: SentWatcher | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Job:
        """As `Client.index_corpus`."""
        with uploads.opened(source, filename, progress) as (name, file):
            upload = requests.upload(name, file, "corpus")
            return await self._run(
                flows.index_corpus(collection, upload, columns, chunking=chunking, settings=settings, options=options)
            )

    async def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = next(flow)
                else:
                    step = flow.send(await self._send(step))
        except StopIteration as stop:
            value: T = stop.value
            return value

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
