"""Calls that take several requests, as generators: they yield what to send and are sent what came back. No I/O.

Each client drives a flow with its own way of sending and sleeping, so both behave alike.
"""

import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeAlias, TypeVar

import httpx

from producers.client import requests
from producers.client.errors import JobFailed, WaitTimeout
from producers.client.models import Answer, Collection, Job, Page
from producers.client.requests import Request, SubmitOptions
from schemas.kinds.indexing import MAX_DOCUMENTS
from schemas.lifecycle import JobState

T = TypeVar("T")

MAX_INLINE_BYTES = 900_000
"""Documents of one submission, as JSON; what is larger is uploaded."""

HOLD_S = 20.0
"""How long one request of `wait` asks the server to hold its answer."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for `seconds`."""

    seconds: float


Flow: TypeAlias = Generator[Request[Any] | Pause, Any, T]
JobWatcher: TypeAlias = Callable[[Job], None]


def wait(id: str, *, timeout: float | None, on_change: JobWatcher | None) -> Flow[Job]:
    """The job once it has ended, however it ended. Raises `WaitTimeout` after `timeout` seconds.

    Asks at growing intervals, a tenth of the time that has passed, 0.05 to 1 second.
    """
    began = time.monotonic()
    seen: Job | None = None
    while True:
        elapsed = time.monotonic() - began
        left = float("inf") if timeout is None else timeout - elapsed
        # A watcher wants every change at once; others let the server hold the answer.
        hold = None if on_change else min(HOLD_S, max(0.0, left))
        job: Job = yield requests.job(id, wait_s=hold)
        if on_change and job != seen:
            on_change(job)
        seen = job
        if job.ended:
            return job
        elapsed = time.monotonic() - began
        if timeout is not None and elapsed >= timeout:
            raise WaitTimeout(job, timeout)
        yield Pause(min(max(0.05, elapsed / 10), 1.0, timeout - elapsed if timeout is not None else 1.0))


def collections() -> Flow[list[Collection]]:
    """Every collection, a page at a time."""
    found: list[Collection] = []
    while True:
        page: Page[Collection] = yield requests.collections(after=found[-1].name if found else None)
        found += page.data
        if not page.has_more or not page.data:
            return found


def finish(job: Job, *, timeout: float | None) -> Flow[dict[str, Any]]:
    """The result of a job once it has succeeded. Raises `JobFailed`, `WaitTimeout`."""
    if not job.ended:
        job = yield from wait(job.id, timeout=timeout, on_change=None)
    if job.state is not JobState.SUCCEEDED:
        raise JobFailed(job)
    result = job.result
    # For a result over 64 KiB the job holds only the file's id.
    if result is not None and result.keys() != {"file"}:
        return result
    full: dict[str, Any] | bytes = yield requests.result(job.id)
    return json.loads(full) if isinstance(full, bytes) else full


def question(
    collection: str,
    question: str,
    *,
    top_k: int,
    filter: Mapping[str, Any] | None,
    rerank: bool | None,
    generate: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The input of an inference job."""
    asked: dict[str, Any] = {"collection": collection, "question": question, "top_k": top_k}
    asked |= {"filter": dict(filter)} if filter else {}
    asked |= {"rerank": rerank} if rerank is not None else {}
    return asked | ({"generate": dict(generate)} if generate is not None else {})


def ask(asked: Mapping[str, Any], *, timeout: float, on_submit: JobWatcher | None = None) -> Flow[Answer]:
    """Submit an inference job and wait for its answer."""
    # A caller that wants the job's id wants it before the answer, not with it.
    held = 0.0 if on_submit else min(float(requests.MAX_WAIT_S), timeout)
    began = time.monotonic()
    job: Job = yield requests.submit("inference", asked, {"wait_s": held})
    if on_submit:
        on_submit(job)
    return (yield from answer(job, timeout=max(0.0, timeout - (time.monotonic() - began))))


def answer(job: Job, *, timeout: float | None) -> Flow[Answer]:
    """The answer of an inference job once it has succeeded. Raises `JobFailed`, `WaitTimeout`."""
    result = yield from finish(job, timeout=timeout)
    return Answer.model_validate({**result, "job": job.id})


def index_documents(
    collection: str,
    documents: Iterable[Mapping[str, Any]],
    *,
    chunking: Mapping[str, Any] | None,
    settings: Mapping[str, Any] | None,
    options: SubmitOptions,
    on_submit: JobWatcher | None = None,
) -> Flow[list[Job]]:
    """Submit any number of documents as jobs of at most 1,000 documents and 900 KB each.

    A document whose text is larger is uploaded first.
    """
    how = _how(chunking, settings)
    jobs: list[Job] = []
    batch: list[Mapping[str, Any]] = []
    size = 0

    def submit() -> Flow[None]:
        # One key names one body: each batch gets its own key, the same one when the whole call is repeated.
        key = options.get("idempotency_key")
        keyed: SubmitOptions = {**options, "idempotency_key": f"{key}-{len(jobs)}"} if key else options
        jobs.append((yield _index(collection, {"documents": batch}, how, keyed)))
        if on_submit:
            on_submit(jobs[-1])

    for given in documents:
        document, weight = given, json_bytes(given)
        if weight > MAX_INLINE_BYTES and given.get("text") is not None:
            content = BytesIO(given["text"].encode())
            file = yield requests.upload(f"{given['id']}.txt".replace("/", "_"), content, "documents")
            document = {"format": "text", **{k: v for k, v in given.items() if k != "text"}, "file": file.id}
            weight = json_bytes(document)
        if batch and (len(batch) == MAX_DOCUMENTS or size + weight > MAX_INLINE_BYTES):
            yield from submit()
            batch, size = [], 0
        batch.append(document)
        size += weight
    if batch:
        yield from submit()
    return jobs


def index_corpus(
    collection: str,
    file: Request[Any],
    columns: Mapping[str, Any],
    *,
    chunking: Mapping[str, Any] | None,
    settings: Mapping[str, Any] | None,
    options: SubmitOptions,
) -> Flow[Job]:
    """Upload a table of documents and submit it as one job."""
    uploaded = yield file
    corpus = {"corpus": {"file": uploaded.id, **columns}}
    job: Job = yield _index(collection, corpus, _how(chunking, settings), options)
    return job


def _index(
    collection: str, work: Mapping[str, Any], how: Mapping[str, Mapping[str, Any]], options: SubmitOptions
) -> Request[Job]:
    return requests.submit("indexing", {"collection": collection, **work, **how}, options)


def _how(chunking: Mapping[str, Any] | None, settings: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {name: value for name, value in (("chunking", chunking), ("settings", settings)) if value}


def json_bytes(value: Any) -> int:
    """How many bytes `value` takes in a request's body."""
    return len(httpx.Request("POST", "http://x", json=value).content)
