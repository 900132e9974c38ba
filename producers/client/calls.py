"""Every call of both clients except the streams, written once: what is sent, and what comes back."""

from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from producers.client import flows, requests, uploads
from producers.client.binding import Paging, call, pages
from producers.client.flows import Flow, JobWatcher
from producers.client.models import Answer, Collection, Deleted, File, Job, Page, SearchHit
from producers.client.requests import Request, SubmitOptions
from producers.client.uploads import SentWatcher, Source


class ClientCalls:
    """The calls of `Client` and `AsyncClient`."""

    @call
    def submit(self, kind: str, input: Mapping[str, Any], **options: Unpack[SubmitOptions]) -> Request[Job]:
        """Submit a job; options as in `SubmitOptions`. With `wait_s` the job may have ended already."""
        return requests.submit(kind, input, options)

    @call
    def job(self, id: str) -> Request[Job]:
        """The job's present state."""
        return requests.job(id)

    @call
    def jobs(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        parent: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Request[Page[Job]]:
        """A page of jobs, newest first; `after` is the last id of the previous page, `limit` 1 to 100."""
        return requests.jobs(kind=kind, state=state, parent=parent, after=after, limit=limit)

    @pages
    def iterate_jobs(
        self, *, kind: str | None = None, state: str | None = None, parent: str | None = None
    ) -> Paging[Job]:
        """Every job, newest first, a page at a time."""
        return lambda after: requests.jobs(kind=kind, state=state, parent=parent, after=after, limit=100)

    @call
    def cancel(self, id: str) -> Request[Job]:
        """Ask the job to stop. Raises `ApiError` with status 409 when it has ended."""
        return requests.cancel(id)

    @call
    def pause(self, id: str, *, reason: str | None = None) -> Request[Job]:
        """Begin no more of the job's children in the lane `bulk`; what runs ends. `reason`: for the job's events.

        A training saves a checkpoint and leaves its worker. Raises `ApiError` with status 409 when the job has ended,
        or cannot be paused.
        """
        return requests.pause("jobs", Job, id, reason)

    @call
    def resume(self, id: str, *, reason: str | None = None) -> Request[Job]:
        """Go on with a paused job and its children. Raises as `pause` does."""
        return requests.resume("jobs", Job, id, reason)

    @call
    def steer(self, id: str, settings: Mapping[str, Any], *, reason: str | None = None) -> Request[Job]:
        """Change how the job's children in the lane `bulk` are taken up: `weight` (1 to 100), `at_once`, `deadline`.

        What `settings` leave out stays; None takes a limit or a deadline away. Raises as `pause` does.
        """
        return requests.steer("jobs", Job, id, settings, reason)

    @call
    def wait(self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None) -> Flow[Job]:
        """The job once it has ended, however it ended. Raises `WaitTimeout` after `timeout` seconds.

        `on_change` is called with each new view of the job.
        """
        return flows.wait(id, timeout=timeout, on_change=on_change)

    @call
    def result(self, id: str) -> Request[Any]:
        """The result's JSON, or an artifact's bytes; an `ApiError` of status 409 while there is none."""
        return requests.result(id)

    @call
    def upload(
        self,
        source: Source,
        purpose: str = "documents",
        *,
        filename: str | None = None,
        progress: SentWatcher | None = None,
    ) -> Flow[File]:
        """Stream a path, bytes or an open file to the server; `progress` is called with the bytes sent so far."""
        with uploads.opened(source, filename, progress) as (name, file):
            sent: File = yield requests.upload(name, file, purpose)
        return sent

    @call
    def files(
        self, *, after: str | None = None, limit: int | None = None, purpose: str | None = None
    ) -> Request[Page[File]]:
        """A page of files, or of those of one purpose, newest first."""
        return requests.files(after=after, limit=limit, purpose=purpose)

    @call
    def file(self, id: str) -> Request[File]:
        """A file's metadata."""
        return requests.file(id)

    @call
    def delete_file(self, id: str) -> Request[Deleted]:
        """Remove a file."""
        return requests.delete_file(id)

    @call
    def collections(self) -> Flow[list[Collection]]:
        """Every collection by name, without settings and fields; `collection` returns those."""
        return flows.collections()

    @call
    def collection(self, name: str) -> Request[Collection]:
        """A collection in full."""
        return requests.collection(name)

    @call
    def change_collection(
        self, name: str, settings: Mapping[str, Any] | None = None, *, rebuild: bool = False
    ) -> Request[Job]:
        """Change a collection's settings, those named in `settings`; the job that does it.

        If vectors depend on them, or with `rebuild`, all documents are indexed again while searches continue.
        """
        return requests.change_collection(name, settings, rebuild=rebuild)

    @call
    def delete_collection(self, name: str) -> Request[Deleted]:
        """Remove a collection with all its documents."""
        return requests.delete_collection(name)

    @call
    def delete_document(self, collection: str, id: str) -> Request[Deleted]:
        """Remove one document from a collection."""
        return requests.delete_document(collection, id)

    @call
    def search(
        self,
        collection: str,
        query: str,
        *,
        top_k: int = 5,
        filter: Mapping[str, Any] | None = None,
        rerank: bool | None = None,
    ) -> Request[list[SearchHit]]:
        """The `top_k` (1 to 100) best chunks.

        `filter`: conditions on metadata, `{"year": {"gte": 2020}, "lang": "ko"}`. `rerank`: None, the server's choice.
        """
        return requests.search(collection, query, top_k=top_k, filter=filter, rerank=rerank)

    @call
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
    ) -> Flow[Answer]:
        """The answer to a question, with citations. Raises `JobFailed`, and `WaitTimeout` after `timeout` seconds.

        `generate`: `model`, `max_tokens`, `temperature`. `on_submit` gets the job before the wait.
        """
        asked = flows.question(collection, question, top_k=top_k, filter=filter, rerank=rerank, generate=generate)
        return flows.ask(asked, timeout=timeout, on_submit=on_submit)

    @call
    def answer(self, job: Job, timeout: float | None = None) -> Flow[Answer]:
        """The answer of an inference job once it has succeeded. Raises `JobFailed`, and `WaitTimeout`."""
        return flows.answer(job, timeout=timeout)

    @call
    def index_documents(
        self,
        collection: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        chunking: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        on_submit: JobWatcher | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Flow[list[Job]]:
        """Submit documents (`id`, `text` or `file`, and `title`, `format`, `metadata`) as jobs of up to 1,000 of them.

        A document of more than 900 KB is uploaded first. `settings`: as for `change_collection`. `chunking`: for a new
        collection, refused when an existing one has another. `on_submit` gets each job as it is made.
        """
        return flows.index_documents(
            collection, documents, chunking=chunking, settings=settings, options=options, on_submit=on_submit
        )

    @call
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
    ) -> Flow[Job]:
        """Upload a table with one document per row, and submit it as one job.

        `columns`: `format` (`tsv`, `csv`, `jsonl`, `parquet`), and the names of `text`, `title`, `id` and `metadata`.
        """
        with uploads.opened(source, filename, progress) as (name, file):
            upload = requests.upload(name, file, "corpus")
            return (
                yield from flows.index_corpus(
                    collection, upload, columns, chunking=chunking, settings=settings, options=options
                )
            )
