"""The clients: what they send, how they read answers, and when they try again. Both, by the same tests."""

import inspect
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from producers.client import binding, flows, requests
from producers.client.adapters import Adapters, AsyncAdapters
from producers.client.aliases import AsyncModels, Models
from producers.client.async_ import AsyncClient
from producers.client.connection import may_retry, resolve_url
from producers.client.dead import AsyncDeadLetters, DeadLetters
from producers.client.errors import (
    ApiError,
    ConnectionFailed,
    UnexpectedAnswer,
)
from producers.client.sync import Client
from producers.client.webhooks import AsyncWebhooks, Webhooks
from schemas.lifecycle import JobState
from tests.unit.scripted_transport import (
    FILE,
    ID,
    Caller,
    Script,
    call,
    job,
    no_backoff,
    ok,
    problem,
    script,
    stored_file,
)

__all__ = ["call", "no_backoff", "script"]


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


def test_the_url_comes_from_the_argument_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELIP_URL", "http://elsewhere:9/")
    assert resolve_url(None) == "http://elsewhere:9"
    assert resolve_url("http://here:1") == "http://here:1"
    monkeypatch.delenv("WELIP_URL")
    assert resolve_url(None) == "http://127.0.0.1:8080"
