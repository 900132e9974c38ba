"""Every call of the HTTP contract as a value: what to send, and how to read the answer. Does no I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, BinaryIO, Generic, Literal, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import BaseModel

from producers.client.models import Collection, Deleted, File, Job, Page, SearchHit

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
D = TypeVar("D")

OnDisconnect: TypeAlias = Literal["continue", "cancel"]
"""What becomes of a job when the connection closes over which its events are read."""

MAX_WAIT_S = 60
"""The longest time for which the server holds an answer back."""


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One HTTP request. `repeatable`: sending it twice does no harm. `patience_s`: how long the server may hold it."""

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    file: tuple[str, BinaryIO] | None = None
    repeatable: bool = True
    patience_s: float = 0.0


class SubmitOptions(TypedDict, total=False):
    """Options of every submission.

    `lane`: `interactive` (default) or `bulk`. `idempotency_key`: generated when absent, so that a retry is safe.
    `metadata`: at most 16 string pairs. `wait_s`: 0 to 60, answer as soon as the job ends. `max_attempts`: tries of a
    stage. `timeout_s`: the longest a stage may run. `expires_in_s`: the job fails if it waits for a worker then.
    `webhook`: `{"url", "events"}`, who is notified of the job's end. `concurrency_key`: of your jobs in the lane `bulk`
    with the same key, one runs at a time.
    """

    lane: str
    idempotency_key: str
    metadata: Mapping[str, str]
    wait_s: float
    max_attempts: int
    timeout_s: float
    expires_in_s: float
    webhook: Mapping[str, Any]
    concurrency_key: str


def one(model: type[M]) -> Callable[[httpx.Response], M]:
    """Reads an answer as this model."""
    return lambda response: model.model_validate_json(response.content)


def all_of(page: type[Page[D]]) -> Callable[[httpx.Response], list[D]]:
    """Reads an answer that is always a single page, and returns its items."""
    return lambda response: page.model_validate_json(response.content).data


def path(*parts: str) -> str:
    """`/v1/` and the parts, quoted. Raises `ValueError` when one is empty."""
    if not all(parts):
        raise ValueError("an id or name is empty")
    # `.` and `..` would be resolved as path segments, and a DELETE would hit something larger.
    return "/v1/" + "/".join(quote(p, safe="") if p.strip(".") else p.replace(".", "%2E") for p in parts)


def given(**values: Any) -> dict[str, Any]:
    """The items that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _prefer_wait(wait_s: float | None) -> dict[str, str]:
    if wait_s is None or wait_s <= 0:
        return {}
    if wait_s > MAX_WAIT_S:
        raise ValueError(f"wait_s is {wait_s:g}, the server waits at most {MAX_WAIT_S} seconds: call wait() after it")
    return {"Prefer": f"wait={ceil(wait_s)}"}


def submit(kind: str, input: Mapping[str, Any], options: SubmitOptions) -> Request[Job]:
    """`POST /v1/jobs`. Raises `ValueError` for a `wait_s` over 60."""
    body: dict[str, Any] = {"kind": kind, "input": dict(input), **options}
    wait_s = body.pop("wait_s", None)
    key = body.pop("idempotency_key", None) or str(uuid4())
    return Request(
        "POST",
        "/v1/jobs",
        one(Job),
        json=given(**body),
        headers={"Idempotency-Key": key, **_prefer_wait(wait_s)},
        patience_s=wait_s or 0.0,
    )


def job(id: str, *, wait_s: float | None = None) -> Request[Job]:
    """`GET /v1/jobs/{id}`; with `wait_s` the server may hold the answer until the job ends."""
    return Request("GET", path("jobs", id), one(Job), headers=_prefer_wait(wait_s), patience_s=wait_s or 0.0)


def jobs(
    *, kind: str | None, state: str | None, parent: str | None, after: str | None, limit: int | None
) -> Request[Page[Job]]:
    """`GET /v1/jobs`."""
    params = given(kind=kind, state=state, parent=parent, after=after, limit=limit)
    return Request("GET", "/v1/jobs", one(Page[Job]), params=params)


def cancel(id: str) -> Request[Job]:
    """`POST /v1/jobs/{id}/cancel`. Not repeatable: it conflicts with a job that has ended."""
    return Request("POST", path("jobs", id, "cancel"), one(Job), repeatable=False)


def pause(kept: str, model: type[M], id: str, reason: str | None) -> Request[M]:
    """`POST /v1/{kept}/{id}/pause`."""
    return Request("POST", path(kept, id, "pause"), one(model), json=given(reason=reason))


def resume(kept: str, model: type[M], id: str, reason: str | None) -> Request[M]:
    """`POST /v1/{kept}/{id}/resume`."""
    return Request("POST", path(kept, id, "resume"), one(model), json=given(reason=reason))


def steer(kept: str, model: type[M], id: str, settings: Mapping[str, Any], reason: str | None) -> Request[M]:
    """`PATCH /v1/{kept}/{id}`."""
    return Request("PATCH", path(kept, id), one(model), json={**settings, **given(reason=reason)})


def events(id: str, after: int | None, on_disconnect: OnDisconnect) -> Request[None]:
    """`GET /v1/jobs/{id}/events`: a stream, whose parser is `EventCursor`."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    params = {} if on_disconnect == "continue" else {"on_disconnect": on_disconnect}
    return Request("GET", path("jobs", id, "events"), lambda _: None, headers=headers, params=params)


def _json_or_bytes(response: httpx.Response) -> Any:
    return response.json() if "json" in response.headers.get("content-type", "") else response.content


def result(id: str) -> Request[Any]:
    """`GET /v1/jobs/{id}/result`: the result's JSON, or an artifact's bytes."""
    return Request("GET", path("jobs", id, "result"), _json_or_bytes)


def upload(filename: str, file: BinaryIO, purpose: str, *, patience_s: float = 300.0) -> Request[File]:
    """`POST /v1/files`, streamed. Not repeatable once sent: a second copy would stay behind."""
    return Request(
        "POST",
        "/v1/files",
        one(File),
        form={"purpose": purpose},
        file=(filename, file),
        repeatable=False,
        patience_s=patience_s,
    )


def files(*, after: str | None, limit: int | None, purpose: str | None = None) -> Request[Page[File]]:
    """`GET /v1/files`."""
    return Request("GET", "/v1/files", one(Page[File]), params=given(after=after, limit=limit, purpose=purpose))


def file(id: str) -> Request[File]:
    """`GET /v1/files/{id}`."""
    return Request("GET", path("files", id), one(File))


def file_content(id: str) -> Request[bytes]:
    """`GET /v1/files/{id}/content`."""
    return Request("GET", path("files", id, "content"), lambda response: response.content)


def delete_file(id: str) -> Request[Deleted]:
    """`DELETE /v1/files/{id}`."""
    return Request("DELETE", path("files", id), one(Deleted))


def collections(*, after: str | None) -> Request[Page[Collection]]:
    """`GET /v1/collections`."""
    return Request("GET", "/v1/collections", one(Page[Collection]), params=given(after=after, limit=100))


def collection(name: str) -> Request[Collection]:
    """`GET /v1/collections/{name}`."""
    return Request("GET", path("collections", name), one(Collection))


def change_collection(name: str, settings: Mapping[str, Any] | None, *, rebuild: bool) -> Request[Job]:
    """`PATCH /v1/collections/{name}`. Settings may be sent twice; a requested rebuild would be done twice."""
    body = given(settings=settings, rebuild=rebuild or None)
    return Request("PATCH", path("collections", name), one(Job), json=body, repeatable=not rebuild)


def delete_collection(name: str) -> Request[Deleted]:
    """`DELETE /v1/collections/{name}`; the server answers when its removal is done."""
    return Request("DELETE", path("collections", name), one(Deleted), patience_s=60.0)


def delete_document(collection: str, id: str) -> Request[Deleted]:
    """`DELETE /v1/collections/{name}/documents/{id}`."""
    return Request("DELETE", path("collections", collection, "documents", id), one(Deleted), patience_s=60.0)


def search(
    collection: str, query: str, *, top_k: int, filter: Mapping[str, Any] | None, rerank: bool | None
) -> Request[list[SearchHit]]:
    """`POST /v1/collections/{name}/search`; changes nothing, so it may be repeated."""
    return Request(
        "POST",
        path("collections", collection, "search"),
        all_of(Page[SearchHit]),
        json=given(query=query, top_k=top_k, filter=filter, rerank=rerank),
        patience_s=60.0,
    )
