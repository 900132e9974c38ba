"""`/v1/webhooks` as its owners use it: endpoints, secrets that are shown once, the delivery log, and bad requests."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from infra.postgres.keys import create_key
from schemas.jobs import JobView
from schemas.webhooks import (
    EVENTS,
    MAX_ENDPOINTS,
    DeliveryPage,
    EndpointCreated,
    EndpointList,
    EndpointView,
    SecretView,
)
from tests.conftest import database_of, execute
from tests.e2e.processes import Gateway, cli, until
from tests.e2e.test_jobs_api import problem

Json = dict[str, Any]
URL = "https://r.example/in"
NOOP = {"kind": "noop", "input": {}}
NOBODY = "0" * 32


@pytest.fixture(scope="module")
def database_of_gateway(postgres_url: str) -> Iterator[str]:
    name = f"webhooks_{uuid4().hex}"
    asyncio.run(execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE welip_template"))
    yield database_of(postgres_url, name)
    asyncio.run(execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def gateway(database_of_gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway alone: nothing is sent and no job runs. It must not log a secret."""
    folder = tmp_path_factory.mktemp("gateway")
    settings = {
        "WELIP_AUTH": "on",
        "WELIP_POSTGRES_URL": database_of_gateway,
        "WELIP_KAFKA_URL": "127.0.0.1:1",
        "WELIP_BLOBS_URL": f"file://{folder}/blobs",
        "WELIP_LOG_LEVEL": "debug",
    }
    with Gateway(folder / "gateway.log", **settings) as running:
        until(lambda: "unavailable" not in httpx.get(f"{running.url}/readyz").text, "it reaches Postgres")
        yield running
        assert "whsec_" not in running.log
        assert ".defect" not in running.log


@pytest.fixture
def key(database_of_gateway: str) -> str:
    """The key of a tenant for this test alone."""
    return create_key(database_of_gateway, f"tenant-{uuid4().hex}", "")


@pytest.fixture
def http(gateway: Gateway, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as raw:
        yield raw


def add(http: httpx.Client, **fields: Any) -> Json:
    answer = http.post("/v1/webhooks", json={"url": URL, **fields})
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


def test_an_endpoint_is_made_with_a_secret_that_is_shown_once(http: httpx.Client) -> None:
    answer = http.post("/v1/webhooks", json={"url": "HTTPS://R.Example:443/in", "description": "결과를 받는 곳"})
    assert answer.status_code == 201
    made = EndpointCreated.model_validate(answer.json())
    assert (made.url, made.description, made.enabled) == ("https://r.example/in", "결과를 받는 곳", True)
    assert made.events == list(EVENTS)
    assert made.secret.startswith("whsec_")
    here = answer.headers["location"]
    assert here == f"/v1/webhooks/{made.id}"

    seen = http.get(here)
    assert EndpointView.model_validate(seen.json()).id == made.id
    listed = http.get("/v1/webhooks")
    assert [one.id for one in EndpointList.model_validate(listed.json()).data] == [made.id]
    changed = http.patch(here, json={"description": "x"})
    for later in (seen, listed, changed, http.get(f"{here}/deliveries"), http.delete(here)):
        assert later.status_code == 200
        assert "whsec_" not in later.text
    assert problem(http.get(here)) == (404, "webhook_not_found", "id")


def test_an_endpoint_is_changed_disabled_and_enabled(http: httpx.Client) -> None:
    here = f"/v1/webhooks/{add(http)['id']}"
    changed = http.patch(here, json={"url": "https://other.example/", "events": ["job.failed", "job.failed"]}).json()
    assert (changed["url"], changed["events"]) == ("https://other.example/", ["job.failed"])
    disabled = http.patch(here, json={"enabled": False}).json()
    assert (disabled["enabled"], disabled["disabled_reason"], disabled["url"]) == (False, "owner", changed["url"])
    assert disabled["disabled_at"]
    assert problem(http.post(f"{here}/test")) == (409, "endpoint_disabled", "id")
    replayed = http.post(f"{here}/replay", json={"since": "2026-01-01T00:00:00Z"})
    assert problem(replayed) == (409, "endpoint_disabled", "id")
    enabled = http.patch(here, json={"enabled": True}).json()
    assert (enabled["enabled"], enabled["disabled_reason"], enabled["disabled_at"]) == (True, None, None)
    assert http.patch(here, json={}).json() == enabled


def test_each_rotation_gives_another_secret(http: httpx.Client) -> None:
    made = add(http)
    here = f"/v1/webhooks/{made['id']}"
    bare = SecretView.model_validate(http.post(f"{here}/rotate").json())
    assert bare.previous_until is not None
    assert http.get(here).json()["previous_until"] is not None
    at_once = SecretView.model_validate(http.post(f"{here}/rotate", json={"overlap_s": 0}).json())
    assert at_once.previous_until is None
    assert http.get(here).json()["previous_until"] is None
    assert len({made["secret"], bare.secret, at_once.secret}) == 3


def test_a_job_names_its_own_receiver_once_the_tenant_has_a_secret(http: httpx.Client) -> None:
    job = {**NOOP, "webhook": {"url": URL}}
    assert problem(http.post("/v1/jobs", json=job)) == (409, "no_signing_secret", "webhook")
    assert "/v1/webhooks/secret" in http.post("/v1/jobs", json=job).json()["detail"]
    assert http.get("/v1/jobs").json()["data"] == []

    first = SecretView.model_validate(http.post("/v1/webhooks/secret").json())
    assert first.previous_until is None
    answer = http.post("/v1/jobs", json=job)
    assert answer.status_code == 202
    shown = {"url": URL, "events": ["job.cancelled", "job.failed", "job.succeeded"]}
    assert answer.json()["webhook"] == shown
    seen = http.get(answer.json()["links"]["self"])
    assert JobView.model_validate(seen.json()).webhook is not None
    assert seen.json()["webhook"] == shown
    assert http.post("/v1/jobs", json=NOOP).json()["webhook"] is None

    second = SecretView.model_validate(http.post("/v1/webhooks/secret", json={"overlap_s": 60}).json())
    assert second.secret != first.secret
    assert second.previous_until is not None


def test_the_receiver_is_part_of_what_an_idempotency_key_stands_for(http: httpx.Client) -> None:
    http.post("/v1/webhooks/secret")
    key = {"Idempotency-Key": "k"}
    job = {**NOOP, "webhook": {"url": URL, "events": ["job.failed"]}}
    first, again = (http.post("/v1/jobs", json=job, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["webhook"] == again.json()["webhook"] == job["webhook"]
    other = http.post("/v1/jobs", json={**NOOP, "webhook": {"url": f"{URL}2"}}, headers=key)
    assert problem(other) == (409, "idempotency_key_reused", "Idempotency-Key")


@pytest.mark.parametrize(
    ("hook", "field"),
    [
        ({"url": "http://r.example/"}, "webhook.url"),
        ({"url": "https://127.0.0.1/"}, "webhook.url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "webhook.url"),
        ({"url": "https://169.254.169.254/latest"}, "webhook.url"),
        ({"url": "https://user:geheim@r.example/"}, "webhook.url"),
        ({"url": "ftp://r.example/"}, "webhook.url"),
        ({"url": "no url"}, "webhook.url"),
        ({"url": ""}, "webhook.url"),
        ({}, "webhook.url"),
        ({"url": URL, "events": ["batch.failed"]}, "webhook.events"),
        ({"url": URL, "events": []}, "webhook.events"),
        ({"url": URL, "events": ["job.started"]}, "webhook.events[0]"),
        ({"url": URL, "secret": "whsec_x"}, "webhook.secret"),
    ],
)
def test_an_invalid_receiver_is_refused_with_its_field(http: httpx.Client, hook: Json, field: str) -> None:
    http.post("/v1/webhooks/secret")
    answer = http.post("/v1/jobs", json={**NOOP, "webhook": hook})
    status, _, found = problem(answer)
    assert (status, found) == (422, field)
    assert "geheim" not in answer.text
    assert http.get("/v1/jobs").json()["data"] == []
    for method, path in (("POST", "/v1/webhooks"), ("PATCH", f"/v1/webhooks/{add(http)['id']}")):
        if field == "webhook.events" and hook["events"]:
            continue  # endpoints also hear of batches
        answer = http.request(method, path, json=hook)
        if method == "PATCH" and not hook:
            continue  # an empty change
        assert problem(answer)[::2] == (422, field.removeprefix("webhook.")), (method, answer.text)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "rotate", {"overlap_s": -1}, "overlap_s"),
        ("POST", "rotate", {"overlap_s": 604_801}, "overlap_s"),
        ("POST", "replay", {}, "since"),
        ("POST", "replay", {"since": "2026-01-01T00:00:00"}, "since"),
        ("POST", "replay", {"since": 5}, "since"),
        ("POST", "replay", {"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ("POST", "replay", {"since": "9999-12-31T23:59:59-14:00"}, "since"),
        ("GET", "deliveries?state=lost", None, "state"),
        ("GET", "deliveries?after=evt_1", None, "after"),
        ("GET", "deliveries?limit=0", None, "limit"),
        ("PATCH", "", {"description": "줄\n바꿈"}, "description"),
        ("PATCH", "", {"secret": "whsec_mine"}, "secret"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(
    http: httpx.Client, method: str, path: str, body: Json | None, field: str
) -> None:
    here = f"/v1/webhooks/{add(http)['id']}/{path}".rstrip("/")
    answer = http.request(method, here, json=body)
    assert problem(answer) == (422, "invalid_input", field)
    assert "whsec_" not in answer.text


def test_a_replay_since_any_time_finds_what_there_is(http: httpx.Client) -> None:
    here = f"/v1/webhooks/{add(http)['id']}/replay"
    for since in ("2000-01-01T00:00:00Z", "2026-01-01T00:00:00.5+09:00", "2999-12-31T00:00:00-12:00"):
        answer = http.post(here, json={"since": since})
        assert answer.status_code == 202
        assert answer.json() == {"object": "webhook_replay", "replayed": 0, "has_more": False}


def test_there_is_an_end_to_the_endpoints_of_a_tenant(http: httpx.Client) -> None:
    for _ in range(MAX_ENDPOINTS):
        add(http)
    assert problem(http.post("/v1/webhooks", json={"url": URL}))[:2] == (409, "too_many_endpoints")
    assert len(http.get("/v1/webhooks").json()["data"]) == MAX_ENDPOINTS


def test_a_cancelled_job_is_announced_to_both_and_its_deliveries_are_listed(http: httpx.Client) -> None:
    http.post("/v1/webhooks/secret")
    endpoint = add(http)["id"]
    job = http.post("/v1/jobs", json={**NOOP, "webhook": {"url": "https://own.example/x?t=1"}}).json()
    assert http.post(job["links"]["cancel"]).status_code == 202
    page = DeliveryPage.model_validate(http.get("/v1/webhooks/deliveries", params={"job": job["id"]}).json())
    assert [(one.type, one.state, one.job, one.attempts) for one in page.data] == [
        ("job.cancelled", "pending", job["id"], 0)
    ] * 2
    assert {(one.endpoint, one.url) for one in page.data} == {(endpoint, URL), (None, "https://own.example/x?t=1")}
    of_endpoint = http.get(f"/v1/webhooks/{endpoint}/deliveries").json()["data"]
    assert [one["endpoint"] for one in of_endpoint] == [endpoint]
    seen = http.get(f"/v1/webhooks/deliveries/{of_endpoint[0]['id']}").json()
    assert seen == {**of_endpoint[0], "log": []}
    assert (seen["data"]["id"], seen["data"]["state"]) == (job["id"], "cancelled")
    replayed = http.post(f"/v1/webhooks/deliveries/{seen['id']}/replay")
    assert (replayed.status_code, replayed.json()["state"]) == (202, "pending")
    first = http.get("/v1/webhooks/deliveries", params={"limit": 1}).json()
    assert (len(first["data"]), first["has_more"]) == (1, True)
    rest = http.get("/v1/webhooks/deliveries", params={"after": first["data"][0]["id"]}).json()
    assert {first["data"][0]["id"], *(one["id"] for one in rest["data"])} == {one.id for one in page.data}
    assert http.get("/v1/webhooks/deliveries", params={"state": "failed"}).json()["data"] == []


def test_what_is_not_there_is_named_as_missing(http: httpx.Client) -> None:
    for path, code in (
        (f"/v1/webhooks/wh_{NOBODY}", "webhook_not_found"),
        (f"/v1/webhooks/wh_{NOBODY}/deliveries", "webhook_not_found"),
        (f"/v1/webhooks/deliveries/evt_{NOBODY}", "delivery_not_found"),
        ("/v1/webhooks/nonsense", "not_found"),
        ("/v1/webhooks/secret", "not_found"),  # it cannot be read: it is shown only when it is made
    ):
        assert problem(http.get(path))[:2] == (404, code)


def test_the_command_line_manages_webhooks(gateway: Gateway, key: str) -> None:
    def welip(*arguments: str, code: int = 0) -> Any:
        done = cli("webhooks", *arguments, WELIP_URL=gateway.url, WELIP_API_KEY=key)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr

    assert "no endpoint yet" in welip("list")
    made = welip("add", URL, "--event", "job.failed", "--description", "경보", "--json")
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["job.failed"]
    assert made["id"] in welip("list")
    assert "disabled (owner)" in welip("disable", made["id"])
    assert "enable it first" in welip("test", made["id"], code=2)
    assert "enabled" in welip("enable", made["id"])
    sent = welip("test", made["id"], "--json")
    assert sent["type"] == "webhook.test"
    assert sent["id"] in welip("deliveries", made["id"])
    assert "webhook.test" in welip("show", sent["id"])
    assert "1 to be sent again" in welip("replay", sent["id"])
    assert welip("replay", made["id"], "--since", "5d", "--json") == {"replayed": 0}
    rotated = welip("rotate", made["id"], "--overlap", "1h")
    assert "whsec_" in rotated
    assert "signs too until" in rotated
    assert "whsec_" in welip("secret")
    assert "whsec_" not in welip("show", made["id"])
    assert "removed" in welip("remove", made["id"])
    assert "there is no webhook endpoint" in welip("show", made["id"], code=2)
