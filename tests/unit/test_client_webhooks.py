"""`client.webhooks` and `welip webhooks` against a scripted server: what is sent, what is printed, what is repeated."""

import inspect
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
from typer.testing import CliRunner, Result

from producers.client.async_ import AsyncClient
from producers.client.cli.app import app
from producers.client.cli.failures import WrongUse
from producers.client.cli.times import parse_since, parse_time
from producers.client.errors import ApiError
from producers.client.sync import Client

WH = "wh_" + "a" * 32
EVT = "evt_" + "b" * 32
NOW = "2026-11-20T00:00:00Z"
ENDPOINT = {
    "id": WH,
    "object": "webhook_endpoint",
    "url": "https://r.example/",
    "description": "",
    "events": ["job.failed"],
    "enabled": True,
    "disabled_at": None,
    "disabled_reason": None,
    "failing_since": None,
    "previous_until": None,
    "created_at": NOW,
    "added_by_a_newer_server": 1,
}
SECRET = {"object": "webhook_secret", "secret": "whsec_c2VjcmV0", "previous_until": NOW}
DELIVERY = {
    "id": EVT,
    "object": "webhook_delivery",
    "type": "job.failed",
    "state": "failed",
    "endpoint": WH,
    "url": "https://r.example/",
    "job": "job_" + "c" * 32,
    "attempts": 2,
    "due_at": None,
    "created_at": NOW,
    "ended_at": NOW,
    "data": {"id": "job_" + "c" * 32},
}
LOG = [
    {"attempt": 1, "at": NOW, "status": None, "error": "connect_failed", "answer": None, "ms": 3},
    {"attempt": 2, "at": NOW, "status": 500, "error": None, "answer": "oh\nno", "ms": 4},
]


class Peer:
    """Answers each call of `/v1/webhooks` with one body; failed deliveries fill more than a page."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []
        self.pages = [1000, 1000, 7]
        self.away = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if self.away:
            self.away -= 1
            raise httpx.ReadTimeout("silence")
        return httpx.Response(200, json=self.body(request.method, request.url.path))

    def body(self, method: str, path: str) -> Any:
        if path == f"/v1/webhooks/{WH}/replay":
            count = self.pages.pop(0)
            return {"replayed": count, "has_more": bool(self.pages)}
        if path.endswith("/deliveries"):
            return {"data": [DELIVERY], "has_more": False}
        if path.endswith(("/rotate", "/secret")):
            return SECRET
        if "/deliveries/" in path:
            return {**DELIVERY, "log": LOG}
        if path.endswith("/test"):
            return DELIVERY
        if method == "DELETE":
            return {"id": WH, "object": "webhook_endpoint", "deleted": True}
        if path == "/v1/webhooks":
            return {**ENDPOINT, "secret": SECRET["secret"]} if method == "POST" else {"data": [ENDPOINT]}
        return ENDPOINT

    def calls(self) -> list[tuple[str, str, Any]]:
        return [
            (r.method, r.url.raw_path.decode().removeprefix("/v1/webhooks"), json.loads(r.content or "null"))
            for r in self.sent
        ]


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Peer]:
    found = Peer()
    monkeypatch.setattr("producers.client.sync.Client", partial(Client, transport=httpx.MockTransport(found)))
    monkeypatch.delenv("WELIP_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    stamina.set_testing(True, attempts=3)
    stamina.instrumentation.set_on_retry_hooks([])
    yield found
    stamina.set_testing(False)
    stamina.instrumentation.set_on_retry_hooks(None)


SINCE = datetime(2026, 11, 1, tzinfo=UTC)
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, str, Any]]] = [
    ("create", ("https://r.example/",), {"events": ("job.failed",)},
     ("POST", "", {"url": "https://r.example/", "events": ["job.failed"]})),
    ("endpoints", (), {}, ("GET", "", None)),
    ("endpoint", (WH,), {}, ("GET", f"/{WH}", None)),
    ("change", (WH,), {"description": "", "events": ["job.failed"]},
     ("PATCH", f"/{WH}", {"events": ["job.failed"], "description": ""})),
    ("enable", (WH,), {}, ("PATCH", f"/{WH}", {"enabled": True})),
    ("disable", (WH,), {}, ("PATCH", f"/{WH}", {"enabled": False})),
    ("remove", (WH,), {}, ("DELETE", f"/{WH}", None)),
    ("rotate", (WH, 0), {}, ("POST", f"/{WH}/rotate", {"overlap_s": 0})),
    ("make_secret", (), {}, ("POST", "/secret", {})),
    ("send_test", (WH,), {}, ("POST", f"/{WH}/test", None)),
    ("deliveries", (WH,), {"state": "failed", "limit": 5}, ("GET", f"/{WH}/deliveries?state=failed&limit=5", None)),
    ("deliveries", (), {"job": "job_1"}, ("GET", "/deliveries?job=job_1", None)),
    ("iterate_deliveries", (), {}, ("GET", "/deliveries?limit=100", None)),
    ("delivery", (EVT,), {}, ("GET", f"/deliveries/{EVT}", None)),
    ("replay", (EVT,), {}, ("POST", f"/deliveries/{EVT}/replay", None)),
    ("replay_failed", (WH, SINCE), {}, ("POST", f"/{WH}/replay", {"since": SINCE.astimezone().isoformat()})),
    ("endpoint", ("../jobs",), {}, ("GET", "/..%2Fjobs", None)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options", "sent"), CALLS)
async def test_each_method_sends_one_call_of_the_contract(
    peer: Peer, name: str, args: tuple[Any, ...], options: dict[str, Any], sent: tuple[str, str, Any]
) -> None:
    with Client("http://welip.test", transport=httpx.MockTransport(peer)) as client:
        found = getattr(client.webhooks, name)(*args, **options)
        found = list(found) if inspect.isgenerator(found) else found
    async with AsyncClient("http://welip.test", transport=httpx.MockTransport(peer)) as other:
        peer.pages = [1000, 7]
        value = getattr(other.webhooks, name)(*args, **options)
        same = [item async for item in value] if inspect.isasyncgen(value) else await value
    assert peer.calls() == [sent, sent]
    assert found == same


def test_a_secret_is_read_but_not_shown_by_accident(peer: Peer) -> None:
    with Client("http://welip.test", transport=httpx.MockTransport(peer)) as client:
        made, rotated = client.webhooks.create("https://r.example/"), client.webhooks.rotate(WH)
    assert made.secret == rotated.secret == SECRET["secret"]
    assert "whsec_" not in f"{made!r} {rotated!r} {made} {rotated}"


def test_what_makes_a_secret_is_sent_once_even_when_no_answer_comes(peer: Peer) -> None:
    from producers.client.errors import ConnectionFailed

    with Client("http://welip.test", transport=httpx.MockTransport(peer)) as client:
        for call in (
            lambda: client.webhooks.create("https://r.example/"),
            lambda: client.webhooks.rotate(WH),
            client.webhooks.make_secret,
        ):
            peer.away, peer.sent = 1, []
            with pytest.raises(ConnectionFailed):
                call()
            assert len(peer.sent) == 1


async def test_deliveries_are_of_an_endpoint_or_of_a_job(peer: Peer) -> None:
    with (
        Client("http://welip.test", transport=httpx.MockTransport(peer)) as client,
        pytest.raises(ValueError, match="both"),
    ):
        client.webhooks.deliveries(WH, job="job_1")
    assert peer.sent == []


def test_a_submission_carries_its_webhook() -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        problem = {"code": "no_signing_secret", "detail": "make a signing secret first", "field": "webhook"}
        return httpx.Response(409, json=problem)

    with (
        Client("http://welip.test", transport=httpx.MockTransport(answer)) as client,
        pytest.raises(ApiError) as refusal,
    ):
        client.submit("noop", {}, webhook={"url": "https://r.example/", "events": ["job.failed"]})
    assert refusal.value.code == "no_signing_secret"
    assert sent[0]["webhook"] == {"url": "https://r.example/", "events": ["job.failed"]}


def welip(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["webhooks", *args])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def test_an_added_endpoint_is_printed_with_its_secret_and_a_warning(peer: Peer) -> None:
    done = welip("add", "https://r.example/", "-e", "job.failed", "-e", "job.cancelled", "--description", "d")
    assert peer.calls()[0][2] == {
        "url": "https://r.example/",
        "events": ["job.failed", "job.cancelled"],
        "description": "d",
    }
    assert WH in done.stdout
    assert "whsec_c2VjcmV0" in done.stdout
    assert "not shown again" in done.stderr
    assert json.loads(welip("add", "https://r.example/", "--json").stdout)["secret"] == SECRET["secret"]


def test_a_new_secret_alone_is_on_stdout(peer: Peer) -> None:
    for args in (("rotate", WH, "--overlap", "12h"), ("secret", "--overlap", "12h")):
        done = welip(*args)
        assert done.stdout == "whsec_c2VjcmV0\n"
        assert "signs too until 2026-11-" in done.stderr
        assert peer.calls()[-1][2] == {"overlap_s": 43_200.0}
        assert json.loads(welip(*args, "--json").stdout) == SECRET


def test_endpoints_are_printed_with_their_state(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = (datetime.now(UTC) - timedelta(days=3, minutes=1)).isoformat()
    for fields, says in (
        ({}, "enabled"),
        ({"failing_since": long_ago}, "failing for 3 d"),
        ({"enabled": False, "disabled_at": long_ago, "disabled_reason": "gone"}, "disabled (gone) for 3 d"),
    ):
        monkeypatch.setitem(globals(), "ENDPOINT", {**ENDPOINT, **fields})
        for args in (("list",), ("show", WH), ("enable", WH), ("disable", WH), ("change", WH, "--url", "https://s.e/")):
            assert says in welip(*args).stdout
            assert "whsec_" not in welip(*args, "--json").stdout


def test_a_delivery_is_shown_with_each_attempt(peer: Peer) -> None:
    assert EVT in welip("deliveries", WH, "--state", "failed").stdout
    assert peer.calls()[-1][:2] == ("GET", f"/{WH}/deliveries?state=failed&limit=20")
    lines = welip("show", EVT).stdout
    assert "connect_failed" in lines
    assert "500 oh no" in lines
    assert json.loads(welip("show", EVT, "--json").stdout)["log"][1]["answer"] == "oh\nno"
    assert EVT in welip("test", WH).stdout


def test_replaying_goes_on_until_nothing_failed_is_left(peer: Peer) -> None:
    assert welip("replay", WH, "--since", "5d").stdout == "2007 to be sent again\n"
    assert len({call[2]["since"] for call in peer.calls()}) == 1
    assert json.loads(welip("replay", EVT, "--json").stdout) == {"replayed": 1}
    assert peer.calls()[-1][:2] == ("POST", f"/deliveries/{EVT}/replay")


@pytest.mark.parametrize(
    "args",
    [
        ("replay", WH),
        ("replay", EVT, "--since", "5d"),
        ("replay", WH, "--since", "yesterday"),
        ("rotate", WH, "--overlap", "1 week"),
        ("deliveries", WH, "--job", "job_1"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_sent(peer: Peer, args: tuple[str, ...]) -> None:
    assert len(welip(*args, code=2).stderr.splitlines()) == 1
    assert peer.sent == []


def test_times_are_lengths_or_moments() -> None:
    assert [parse_time(text).total_seconds() for text in ("30s", "5min", "12h", "7d")] == [30, 300, 43_200, 604_800]
    assert parse_since("2026-01-31T09:00:00+09:00") == datetime(2026, 1, 31, tzinfo=UTC)
    assert parse_since("2026-01-31T09:00").tzinfo is not None
    assert timedelta(hours=11, minutes=59) < datetime.now(UTC) - parse_since("12h") < timedelta(hours=12, minutes=1)
    for text in ("", "12", "-1h", "999999999d", "h"):
        with pytest.raises(WrongUse):
            parse_since(text)
