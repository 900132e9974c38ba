"""`Client`: the blocking client."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx
import stamina

from producers.client import connection, flows, requests, uploads
from producers.client.dead import DeadLetters
from producers.client.errors import StreamBroken
from producers.client.events import Event, EventCursor
from producers.client.flows import Flow, JobWatcher, Pause
from producers.client.models import Answer, Collection, Deleted, File, Job, Page, SearchHit
from producers.client.requests import Request, SubmitOptions
from producers.client.uploads import SentWatcher, Source
from producers.client.webhooks import Webhooks

T = TypeVar("T")


class Client:
    """A WeLIP server, over HTTP. Use it as a context manager, or call `close()`; it may be shared between threads.

    Without `base_url` and `api_key` WELIP_URL and WELIP_API_KEY count, then http://127.0.0.1:8080 and no key.
    `timeout`: seconds for each step of a request. `retry_for_s`: how long to go on trying when nobody answers or the
    server asks for patience (429, 503); 0 is one try. Every submission bears an idempotency key, so retries are safe.

    `dead` holds the calls about dead letters. Every method raises `ApiError`, `ConnectionFailed` or `UnexpectedAnswer`.
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
        self.webhooks = Webhooks(self._send)
        self.dead = DeadLetters(self._send)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def submit(self, kind: str, input: Mapping[str, Any], **options: Unpack[SubmitOptions]) -> Job:
        """Submit a job; options as in `SubmitOptions`. With `wait_s` the job may have ended already."""
        return self._send(requests.submit(kind, input, options))

    def job(self, id: str) -> Job:
        """The job as it stands."""
        return self._send(requests.job(id))

    def jobs(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        parent: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Job]:
        """A page of jobs, newest first; `after` is the last id of the page before, `limit` 1 to 100."""
        return self._send(requests.jobs(kind=kind, state=state, parent=parent, after=after, limit=limit))

    def iterate_jobs(
        self, *, kind: str | None = None, state: str | None = None, parent: str | None = None
    ) -> Iterator[Job]:
        """Every job, newest first, a page at a time."""
        after: str | None = None
        while True:
            page = self.jobs(kind=kind, state=state, parent=parent, after=after, limit=100)
            yield from page.data
            if not page.has_more or not page.data:
                return
            after = page.data[-1].id

    def cancel(self, id: str) -> Job:
        """Ask for the job to stop; an `ApiError` of status 409 when it has ended."""
        return self._send(requests.cancel(id))

    def wait(self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None) -> Job:
        """The job once it has ended, however it ended. Raises `WaitTimeout` after `timeout` seconds.

        `on_change` is called with each new view of the job.
        """
        return self._run(flows.wait(id, timeout=timeout, on_change=on_change))

    def result(self, id: str) -> Any:
        """The result's JSON, or an artifact's bytes; an `ApiError` of status 409 while there is none."""
        return self._send(requests.result(id))

    def events(self, id: str, after: int | None = None) -> Iterator[Event]:
        """The job's events, from the first or from the one after number `after`, until it has ended.

        A broken stream is opened again where it broke.
        """
        cursor = EventCursor(id, after)
        while not cursor.ended:
            cursor.connected()
            try:
                with self._stream(requests.events(id, cursor.last), read_timeout=connection.STREAM_SILENCE_S) as answer:
                    for sse in connection.event_source(answer).iter_sse():
                        if event := cursor.read(sse):
                            yield event
                        if cursor.ended:
                            return
            except StreamBroken:
                pass
            else:
                if not cursor.progressed and self.job(id).ended:
                    return
            time.sleep(cursor.pause_s)

    def upload(
        self,
        source: Source,
        purpose: str = "documents",
        *,
        filename: str | None = None,
        progress: SentWatcher | None = None,
    ) -> File:
        """Stream a path, bytes or an open file to the server; `progress` is called with the bytes sent so far."""
        with uploads.opened(source, filename, progress) as (name, file):
            return self._send(requests.upload(name, file, purpose))

    def files(self, *, after: str | None = None, limit: int | None = None) -> Page[File]:
        """A page of files, newest first."""
        return self._send(requests.files(after=after, limit=limit))

    def file(self, id: str) -> File:
        """What is known of a file."""
        return self._send(requests.file(id))

    def download(self, id: str, to: str | Path) -> Path:
        """Stream a file's content to the path `to`, which appears whole or not at all."""
        with self._stream(requests.file_content(id)) as answer, uploads.replacing(Path(to)) as file:
            for piece in answer.iter_bytes():
                file.write(piece)
        return Path(to)

    def delete_file(self, id: str) -> Deleted:
        """Remove a file."""
        return self._send(requests.delete_file(id))

    def collections(self) -> list[Collection]:
        """Every collection."""
        return self._send(requests.collections()).data

    def collection(self, name: str) -> Collection:
        """What is known of a collection."""
        return self._send(requests.collection(name))

    def change_collection(self, name: str, settings: Mapping[str, Any] | None = None, *, rebuild: bool = False) -> Job:
        """Change a collection's settings, those named in `settings`; the job that does it.

        Where vectors depend on them, or with `rebuild`, all documents are indexed again while searches go on.
        """
        return self._send(requests.change_collection(name, settings, rebuild=rebuild))

    def delete_collection(self, name: str) -> Deleted:
        """Remove a collection with all its documents."""
        return self._send(requests.delete_collection(name))

    def delete_document(self, collection: str, id: str) -> Deleted:
        """Remove one document from a collection."""
        return self._send(requests.delete_document(collection, id))

    def search(
        self,
        collection: str,
        query: str,
        *,
        top_k: int = 5,
        filter: Mapping[str, Any] | None = None,
        rerank: bool | None = None,
    ) -> list[SearchHit]:
        """The `top_k` (1 to 100) best chunks.

        `filter`: conditions on metadata, `{"year": {"gte": 2020}, "lang": "ko"}`. `rerank`: None, the server's choice.
        """
        return self._send(requests.search(collection, query, top_k=top_k, filter=filter, rerank=rerank))

    def ask(
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
        """The answer to a question, with citations. Raises `JobFailed`, and `WaitTimeout` after `timeout` seconds.

        `generate`: `model`, `max_tokens`, `temperature`. `on_submit` is told the job before it is waited for.
        """
        return self._run(
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

    def index_documents(
        self,
        collection: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        chunking: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        on_submit: JobWatcher | None = None,
        **options: Unpack[SubmitOptions],
    ) -> list[Job]:
        """Submit documents (`id`, `text` or `file`, and `title`, `format`, `metadata`) as jobs of up to 1,000 of them.

        A document of more than 900 KB is uploaded first. `settings`: as for `change_collection`. `chunking`: for a new
        collection, refused where an old one has another. `on_submit` is told each job as it is made.
        """
        return self._run(
            flows.index_documents(
                collection, documents, chunking=chunking, settings=settings, options=options, on_submit=on_submit
            )
        )

    def index_corpus(
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
        """Upload a table of documents, one a row, and submit it as one job.

        `columns`: `format` (`tsv`, `csv`, `jsonl`, `parquet`), and the names of `text`, `title`, `id` and `metadata`.
        """
        with uploads.opened(source, filename, progress) as (name, file):
            upload = requests.upload(name, file, "corpus")
            return self._run(
                flows.index_corpus(collection, upload, columns, chunking=chunking, settings=settings, options=options)
            )

    def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = next(flow)
                else:
                    step = flow.send(self._send(step))
        except StopIteration as stop:
            value: T = stop.value
            return value

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
