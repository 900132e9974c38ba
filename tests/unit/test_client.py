"""The client against a scripted transport: what it sends, how it reads answers, and when it retries."""

import inspect
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina

from producers.client import binding, flows, requests
from producers.client.adapters import Adapters, AsyncAdapters
from producers.client.aliases import AsyncModels, Models
from producers.client.async_ import AsyncClient
from producers.client.connection import may_retry, resolve_url
from producers.client.dead import AsyncDeadLetters, DeadLetters
from producers.client.errors import (
    ApiError,
    ConnectionFailed,
    JobFailed,
    StreamBroken,
    UnexpectedAnswer,
    WaitTimeout,
)
from producers.client.events import EventCursor, ProgressEvent, StateEvent
from producers.client.flows import Pause
from producers.client.models import Job
from producers.client.requests import Request
from producers.client.sync import Client
from producers.client.webhooks import AsyncWebhooks, Webhooks
from schemas.lifecycle import JobState

ID = "job_" + "0" * 32
FILE = "file_" + "a" * 32


def job(state: str = "queued", **more: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "object": "job",
        "kind": "noop",
        "state": state,
        "created_at": "2026-11-20T00:00:00Z",
        "links": {"self": f"/v1/jobs/{ID}"},
        **more,
    }


def stored_file(name: str = "a.txt", size: int = 1) -> dict[str, Any]:
    return {"id": FILE, "object": "file", "filename": name, "purpose": "documents", "bytes": size}


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces that may break off with an error."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


class Script:
    """A transport that answers from a list, repeats the last answer, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]] = []
        self.sent: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def body(self, at: int = -1) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.sent[at].content)
        return body


class Caller:
    """Calls a method of either client and collects what it yields."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def __call__(self, name: str, *args: Any, **options: Any) -> Any:
        value = attrgetter(name)(self.client)(*args, **options)
        if inspect.isawaitable(value):
            return await value
        if hasattr(value, "__aiter__"):
            return [item async for item in value]
        return list(value) if inspect.isgenerator(value) else value


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    stamina.set_testing(True, attempts=3)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.set_testing(False)
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture(params=["sync", "async"])
async def call(request: pytest.FixtureRequest, script: Script) -> AsyncIterator[Caller]:
    transport = httpx.MockTransport(script)
    if request.param == "sync":
        with Client("http://welip.test", "secret", transport=transport) as client:
            yield Caller(client)
    else:
        async with AsyncClient("http://welip.test", "secret", transport=transport) as client:
            yield Caller(client)


def ok(body: Any, status: int = 200, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, json=body, headers=headers)


def problem(status: int, code: str, **more: Any) -> Callable[[httpx.Request], httpx.Response]:
    body = {"title": code, "status": status, "code": code, "detail": f"{code} it is", **more}
    return lambda _: httpx.Response(status, json=body, headers={"content-type": "application/problem+json"})


def sse(id: int, type: str, **data: Any) -> bytes:
    body = {"id": id, "job": ID, "type": type, "at": "2026-11-20T00:00:00Z", "data": data}
    return f"id: {id}\nevent: {type}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def stream(*pieces: bytes | Exception) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, stream=Chunks(*pieces), headers={"content-type": "text/event-stream"})


CALLS_OF_ONE = {"close", "aclose"}


def offered(client: type) -> dict[str, list[inspect.Parameter]]:
    """The public methods, and their parameters without `self`."""
    names = (name for name in dir(client) if not name.startswith("_") and name not in CALLS_OF_ONE)
    methods = ((name, inspect.getattr_static(client, name)) for name in names)
    return {
        name: list(inspect.signature(getattr(found, "_body", found)).parameters.values())[1:]
        for name, found in methods
        if isinstance(found, binding.call | binding.pages) or inspect.isfunction(found)
    }


@pytest.mark.parametrize(
    ("blocking", "asynchronous", "some"),
    [
        (Client, AsyncClient, {"submit", "events", "download", "iterate_jobs"}),
        (Adapters, AsyncAdapters, {"add", "list", "remove"}),
        (DeadLetters, AsyncDeadLetters, {"list", "drop_many"}),
        (Webhooks, AsyncWebhooks, {"create", "iterate_deliveries"}),
        (Models, AsyncModels, {"promote", "roll_back", "ledger"}),
    ],
)
def test_both_clients_have_the_same_methods_and_parameters(blocking: type, asynchronous: type, some: set[str]) -> None:
    assert offered(blocking) == offered(asynchronous)
    assert some <= set(offered(blocking))


def test_a_method_shows_its_documentation_and_parameters() -> None:
    with Client("http://welip.test") as client:
        assert (inspect.getdoc(client.dead.show), str(inspect.signature(client.dead.show))[:10]) == (
            "A letter with its payload.",
            "(id: str) ",
        )
    assert inspect.getdoc(Client.ask) == inspect.getdoc(AsyncClient.ask)


async def test_submit_sends_the_contract_and_a_key_of_its_own(call: Caller, script: Script) -> None:
    script.answers = [ok(job("succeeded", added_by_a_newer_server=1), 202)]
    submitted = await call("submit", "noop", {"steps": 2}, lane="bulk", wait_s=2.5, metadata={"who": "나"})
    await call("submit", "noop", {})

    first, second = script.sent
    assert (first.method, first.url.path) == ("POST", "/v1/jobs")
    assert script.body(0) == {"kind": "noop", "input": {"steps": 2}, "lane": "bulk", "metadata": {"who": "나"}}
    assert first.headers["authorization"] == "Bearer secret"
    assert first.headers["prefer"] == "wait=3"
    assert first.extensions["timeout"]["read"] == 32.5
    assert "prefer" not in second.headers
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    assert submitted.state is JobState.SUCCEEDED
    assert submitted.model_dump()["added_by_a_newer_server"] == 1


async def test_submit_is_retried_with_the_same_key(call: Caller, script: Script) -> None:
    script.answers = [httpx.ReadError("reset"), problem(503, "dependency_unavailable"), ok(job(), 202)]
    assert (await call("submit", "noop", {}, idempotency_key="k")).id == ID
    assert [request.headers["idempotency-key"] for request in script.sent] == ["k", "k", "k"]


async def test_a_wait_longer_than_the_server_allows_is_refused(call: Caller) -> None:
    with pytest.raises(ValueError, match="at most 60"):
        await call("submit", "noop", {}, wait_s=61)


async def test_a_refusal_names_field_and_remedy_and_is_not_retried(call: Caller, script: Script) -> None:
    script.answers = [problem(422, "invalid_input", field="input.steps", remedy="1 to 100")]
    with pytest.raises(ApiError) as caught:
        await call("submit", "noop", {"steps": 0})
    error = caught.value
    assert (error.status, error.code, error.field, error.remedy) == (422, "invalid_input", "input.steps", "1 to 100")
    assert "input.steps" in str(error)
    assert len(script.sent) == 1


async def test_what_may_not_be_repeated_is_sent_once(call: Caller, script: Script) -> None:
    script.answers = [httpx.ReadTimeout("slow")]
    with pytest.raises(ConnectionFailed, match="timed out"):
        await call("cancel", ID)
    assert len(script.sent) == 1


async def test_an_unreachable_server_is_tried_again_then_reported_with_a_remedy(call: Caller, script: Script) -> None:
    script.answers = [httpx.ConnectError("connection refused")]
    with pytest.raises(ConnectionFailed, match="connection refused") as caught:
        await call("cancel", ID)
    assert len(script.sent) == 3
    assert "welip up" in str(caught.value.remedy)


async def test_an_answer_from_another_server_is_reported_as_such(call: Caller, script: Script) -> None:
    script.answers = [lambda _: httpx.Response(200, html="<h1>Welcome to nginx!</h1>")]
    with pytest.raises(UnexpectedAnswer, match="nginx"):
        await call("job", ID)
    script.answers = [lambda _: httpx.Response(404, text="no")]
    with pytest.raises(UnexpectedAnswer, match="404"):
        await call("job", ID)
    script.answers = [lambda _: httpx.Response(500, text="oops")]
    with pytest.raises(ApiError, match="500"):
        await call("job", ID)


def test_the_server_s_own_waiting_time_is_obeyed_within_the_budget() -> None:
    decide = may_retry(requests.job(ID), budget_s=10.0)
    assert decide(ApiError(429, "rate", "slow down", retry_after=7.0)) == 7.0
    assert decide(ApiError(503, "down", "down", retry_after=60.0)) is False
    assert decide(ApiError(503, "down", "down")) is True
    assert decide(ApiError(504, "late", "late")) is True
    assert decide(ApiError(409, "conflict", "no")) is False


async def test_retry_after_is_read_as_seconds_and_as_a_date(call: Caller, script: Script) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for header, at_least in (("120", 120), (later, 3500)):
        script.answers = [ok({}, 503, **{"retry-after": header})]
        with pytest.raises(ApiError) as caught:
            await call("job", ID)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after >= at_least


async def test_listing_walks_page_by_page(call: Caller, script: Script) -> None:
    script.answers = [
        ok({"data": [job(), job(id="job_b")], "has_more": True}),
        ok({"data": [job(id="job_c")], "has_more": False}),
    ]
    found = await call("iterate_jobs", state="running")
    assert [j.id for j in found] == [ID, "job_b", "job_c"]
    assert dict(script.sent[1].url.params) == {"state": "running", "after": "job_b", "limit": "100"}


@pytest.mark.parametrize(("id", "path"), [("a/b 한", "a%2Fb%20%ED%95%9C"), ("..", "%2E%2E"), ("?x#y", "%3Fx%23y")])
async def test_an_id_never_changes_the_path(call: Caller, script: Script, id: str, path: str) -> None:
    script.answers = [ok({"object": "document", "id": id, "deleted": True})]
    assert (await call("delete_document", "ko", id)).deleted
    assert script.sent[0].url.raw_path.decode() == f"/v1/collections/ko/documents/{path}"
    with pytest.raises(ValueError, match="empty"):
        await call("delete_document", "ko", "")


async def test_events_go_on_where_a_broken_stream_stopped(call: Caller, script: Script) -> None:
    running, cut = sse(1, "state", state="running"), sse(2, "progress", message="안\u2028녕")
    script.answers = [
        # A character cut in two, a keep-alive, then the connection is lost in the middle of an event.
        stream(running[:20], running[20:], cut[:-8], cut[-8:], b": ping\n\n", b"id: 3\nda", httpx.ReadError("cut")),
        stream(cut, sse(3, "progress", done=1, total=2), sse(4, "news"), sse(5, "state", state="succeeded")),
    ]
    events = await call("events", ID)
    assert [event.id for event in events] == [1, 2, 3, 4, 5]
    assert [type(event).__name__ for event in events][1:] == ["ProgressEvent", "ProgressEvent", "Event", "StateEvent"]
    assert isinstance(events[1], ProgressEvent)
    assert events[1].data["message"] == "안\u2028녕"
    assert isinstance(events[2], ProgressEvent)
    assert events[2].progress.total == 2
    assert isinstance(events[4], StateEvent)
    assert events[4].ends
    assert "last-event-id" not in script.sent[0].headers
    assert script.sent[1].headers["last-event-id"] == "2"


async def test_events_after_the_last_one_end_at_once(call: Caller, script: Script) -> None:
    script.answers = [stream(), ok(job("succeeded"))]
    assert await call("events", ID, 5) == []
    assert script.sent[0].headers["last-event-id"] == "5"


async def test_events_of_an_unknown_job_are_an_error(call: Caller, script: Script) -> None:
    script.answers = [problem(404, "not_found")]
    with pytest.raises(ApiError, match="not_found"):
        await call("events", ID)
    script.answers = [ok(job())]
    with pytest.raises(UnexpectedAnswer, match="event stream"):
        await call("events", ID)


def test_reconnecting_slows_down_while_nothing_comes() -> None:
    cursor = EventCursor(ID)
    pauses = []
    for _ in range(9):
        cursor.connected()
        pauses.append(cursor.pause_s)
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses[-1] == 5.0


def drive(flow: flows.Flow[Any], *answers: Any) -> tuple[list[Request[Any] | Pause], Any]:
    """Runs a flow without sending or sleeping; returns what it yielded and what it returned."""
    steps: list[Request[Any] | Pause] = []
    left = list(answers)
    try:
        step = next(flow)
        while True:
            steps.append(step)
            step = flow.send(None if isinstance(step, Pause) else left.pop(0))
    except StopIteration as stop:
        return steps, stop.value


def test_waiting_asks_until_the_job_has_ended() -> None:
    seen: list[JobState] = []
    views = [Job.model_validate(job(state)) for state in ("queued", "queued", "running", "failed")]
    steps, ended = drive(flows.wait(ID, timeout=None, on_change=lambda j: seen.append(j.state)), *views)
    assert ended.state is JobState.FAILED
    assert seen == ["queued", "running", "failed"]
    assert [type(step) for step in steps] == [Request, Pause] * 3 + [Request]
    assert all(0.05 <= step.seconds <= 1.0 for step in steps if isinstance(step, Pause))


def test_waiting_gives_up_after_its_time_and_says_that_the_job_goes_on() -> None:
    with pytest.raises(WaitTimeout, match="still running") as caught:
        drive(flows.wait(ID, timeout=0, on_change=None), Job.model_validate(job("running")))
    assert "continues" in str(caught.value.remedy)


RESULT = {"answer": "서울", "found": True, "citations": [], "model": "extractive"}


async def test_ask_returns_the_answer_and_its_job(call: Caller, script: Script) -> None:
    script.answers = [ok(job("succeeded", kind="inference", result=RESULT))]
    answer = await call("ask", "ko", "수도는?", top_k=3, filter={"lang": "ko"})
    assert (answer.answer, answer.job) == ("서울", ID)
    assert script.body()["input"] == {"collection": "ko", "question": "수도는?", "top_k": 3, "filter": {"lang": "ko"}}
    assert script.sent[0].headers["prefer"] == "wait=60"
    await call("ask", "ko", "수도는?", rerank=False)
    assert script.body()["input"] == {"collection": "ko", "question": "수도는?", "top_k": 5, "rerank": False}


async def test_ask_reads_a_large_result_from_its_file(call: Caller, script: Script) -> None:
    artifact = httpx.Response(200, content=json.dumps(RESULT).encode(), headers={"content-type": "application/gzip"})
    script.answers = [ok(job("running")), ok(job("succeeded", result={"file": FILE})), artifact]
    assert (await call("ask", "ko", "수도는?")).answer == "서울"
    assert script.sent[2].url.path == f"/v1/jobs/{ID}/result"


async def test_ask_raises_when_its_job_fails(call: Caller, script: Script) -> None:
    fault = {"code": "collection_empty", "message": "nothing is indexed", "retryable": False}
    script.answers = [ok(job("failed", error=fault))]
    with pytest.raises(JobFailed, match="nothing is indexed") as caught:
        await call("ask", "ko", "수도는?")
    assert caught.value.code == "collection_empty"


async def test_upload_streams_a_file_and_reports_progress(call: Caller, script: Script, tmp_path: Path) -> None:
    content = "가나다".encode() * 50_000
    (tmp_path / "말뭉치.txt").write_bytes(content)
    sent: list[int] = []
    script.answers = [problem(503, "busy"), ok(stored_file("말뭉치.txt", len(content)))]
    uploaded = await call("upload", tmp_path / "말뭉치.txt", "corpus", progress=sent.append)

    assert uploaded.bytes == len(content)
    again = script.sent[1]
    assert content in again.content
    assert b'name="purpose"\r\n\r\ncorpus' in again.content
    assert "말뭉치.txt".encode() in again.content
    assert again.headers["content-length"] == str(len(again.content))
    assert sent[-1] == len(content)
    assert len(set(sent)) > 2


async def test_documents_are_split_by_number_and_size(call: Caller, script: Script) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=stored_file() if request.url.path == "/v1/files" else job())

    script.answers = [answer]
    small = [{"id": f"d{n}", "text": "짧다"} for n in range(1_001)]
    half = [{"id": "h1", "text": "가" * 200_000}, {"id": "h2", "text": "나" * 200_000}]
    huge = {"id": "긴/글", "text": "다" * 400_000, "format": "markdown"}
    jobs = await call("index_documents", "ko", iter([*small, *half, huge]), idempotency_key="k", lane="bulk")

    submitted = [r for r in script.sent if r.url.path == "/v1/jobs"]
    bodies = [json.loads(r.content)["input"]["documents"] for r in submitted]
    assert len(jobs) == 3
    assert [[d["id"] for d in body][-1] for body in bodies] == ["d999", "h1", "긴/글"]
    assert sum(len(body) for body in bodies) == 1_004
    assert all(len(r.content) < 1_000_000 for r in submitted)
    assert [r.headers["idempotency-key"] for r in submitted] == ["k-0", "k-1", "k-2"]
    assert bodies[-1][-1] == {"id": "긴/글", "format": "markdown", "file": FILE}


K1 = {"sparse": {"k1": 1}}


ADAPTER = {"id": "m:a", "parent": "m", "created": 1_800_000_000, "version": 2}


async def test_an_adapter_is_uploaded_and_registered_and_its_file_removed(call: Caller, script: Script) -> None:
    script.answers = [ok(stored_file("a.zip")), ok(ADAPTER, 201), ok({"id": FILE, "deleted": True})]
    added = await call("adapters.add", b"PK", "m", "a", filename="a.zip")
    assert (added.id, added.version, added.created) == ("m:a", 2, datetime.fromtimestamp(1_800_000_000, UTC))
    assert [(one.method, one.url.path) for one in script.sent] == [
        ("POST", "/v1/files"),
        ("POST", "/v1/models"),
        ("DELETE", f"/v1/files/{FILE}"),
    ]
    assert script.body(1) == {"base": "m", "name": "a", "file": FILE}


async def test_the_file_of_an_adapter_that_is_refused_is_removed_too(call: Caller, script: Script) -> None:
    script.answers = [ok(stored_file("a.zip")), problem(422, "adapter_refused"), problem(503, "away")]
    with pytest.raises(ApiError, match="adapter_refused"):
        await call("adapters.add", b"PK", "m", "a")
    assert {(one.method, one.url.path) for one in script.sent[2:]} == {("DELETE", f"/v1/files/{FILE}")}


async def test_adapters_are_the_models_that_have_a_parent(call: Caller, script: Script) -> None:
    script.answers = [ok({"data": [{"id": "m", "parent": None, "created": 0}, ADAPTER]})]
    assert [one.id for one in await call("adapters.list")] == ["m:a"]
    script.answers = [ok({"id": "m:a@2", "deleted": True})]
    assert (await call("adapters.remove", "m:a@2")).deleted
    assert script.sent[-1].url.raw_path == b"/v1/models/m%3Aa%402"


async def test_a_corpus_is_uploaded_and_submitted(call: Caller, script: Script) -> None:
    script.answers = [ok(stored_file("c.tsv")), ok(job(), 202)]
    columns = {"format": "tsv", "text": "본문"}
    await call(
        "index_corpus", "ko", b"\xeb\xb3\xb8", columns, filename="c.tsv", chunking={"max_chars": 300}, settings=K1
    )
    assert script.body()["input"] == {
        "collection": "ko",
        "corpus": {"file": FILE, **columns},
        "chunking": {"max_chars": 300},
        "settings": K1,
    }


async def test_a_download_appears_whole_or_not_at_all(call: Caller, script: Script, tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    script.answers = [lambda _: httpx.Response(200, stream=Chunks(b"abc", httpx.ReadError("cut")))]
    with pytest.raises(StreamBroken):
        await call("download", FILE, target)
    assert os.listdir(tmp_path) == []
    script.answers = [lambda _: httpx.Response(200, stream=Chunks(b"abc", b"def"))]
    assert (await call("download", FILE, target)).read_bytes() == b"abcdef"


async def test_a_call_that_fails_lets_go_of_what_it_holds(call: Caller, script: Script) -> None:
    held = []

    def flow() -> flows.Flow[None]:
        try:
            yield requests.job("job_x")
        finally:
            held.append("closed")

    script.answers = [problem(404, "not_found")]
    work = flow()  # named, so that it is not garbage-collected and closed
    with pytest.raises(ApiError):
        await call("_run", work)
    assert held == ["closed"]


async def test_search_and_listings_are_typed(call: Caller, script: Script) -> None:
    hit = {"document_id": "d1", "chunk_id": "c1", "title": None, "text": "…", "score": 1.5, "start": 0, "end": 1}
    script.answers = [ok({"data": [hit]})]
    assert (await call("search", "ko", "수도", top_k=2))[0].document_id == "d1"
    assert script.body() == {"query": "수도", "top_k": 2}
    where = {"heading": "제1장 > 제2조", "page": 3}
    script.answers = [ok({"data": [hit | where]})]
    found = (await call("search", "ko", "수도", filter={"year": {"gte": 2020}}, rerank=True))[0]
    assert (found.heading, found.page) == ("제1장 > 제2조", 3)
    assert script.body() == {"query": "수도", "top_k": 5, "filter": {"year": {"gte": 2020}}, "rerank": True}
    script.answers = [ok({"data": [{"name": "ko", "documents": 3, "chunks": 9, "bytes": 10}]})]
    assert (await call("collections"))[0].chunks == 9
    script.answers = [ok({"data": [stored_file()]})]
    assert (await call("files", limit=1)).data[0].id == FILE


COLLECTION = {
    "name": "ko",
    "documents": 3,
    "encoder": {"sparse": "kiwi", "dense": "bge-m3", "dimension": 1024, "learned": True},
    "settings": {"sparse": {"k1": 0.6}},
    "generation": 2,
    "rebuild": {"job": ID, "settings": {"sparse": {"k1": 0.9}}},
    "fields": ["year"],
}


async def test_a_collection_tells_its_settings_and_what_it_is_becoming(call: Caller, script: Script) -> None:
    script.answers = [ok(COLLECTION)]
    found = await call("collection", "ko")
    assert (found.encoder.dense, found.encoder.dimension, found.generation) == ("bge-m3", 1024, 2)
    assert (found.rebuild.job, found.rebuild.settings) == (ID, {"sparse": {"k1": 0.9}})
    script.answers = [ok(COLLECTION | {"rebuild": None})]
    assert (await call("collection", "ko")).rebuild is None


async def test_settings_are_changed_by_a_job_and_a_rebuild_is_not_asked_for_twice(call: Caller, script: Script) -> None:
    script.answers = [problem(504, "late"), ok(job(kind="indexing"), 202)]
    assert (await call("change_collection", "ko", {"sparse": {"k1": 0.9}})).id == ID
    assert (script.sent[-1].method, script.sent[-1].url.path) == ("PATCH", "/v1/collections/ko")
    assert script.body() == {"settings": {"sparse": {"k1": 0.9}}}
    assert len(script.sent) == 2
    script.answers = [problem(504, "late")]
    with pytest.raises(ApiError):
        await call("change_collection", "ko", rebuild=True)
    assert script.body() == {"rebuild": True}
    assert len(script.sent) == 3


def test_the_url_comes_from_the_argument_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELIP_URL", "http://elsewhere:9/")
    assert resolve_url(None) == "http://elsewhere:9"
    assert resolve_url("http://here:1") == "http://here:1"
    monkeypatch.delenv("WELIP_URL")
    assert resolve_url(None) == "http://127.0.0.1:8080"
