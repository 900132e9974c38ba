"""The submission route, which resolves by hand what its signature documents."""

import inspect
import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from gateway.http import problems
from gateway.http.limits import Limits
from gateway.jobs import routes as jobs
from gateway.jobs.submit import Accepted
from gateway.services import Services
from infra.postgres.database import Database
from infra.settings import LimitSettings, PostgresSettings

JOB = UUID(int=7)


class _Submitter:
    """Records what it is asked to accept."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def submit(self, tenant: str, submission: Any, **rest: Any) -> Accepted:
        self.asked.append({"tenant": tenant, "submission": submission, **rest})
        return Accepted(JOB, {"id": "job", "links": {"self": "/here"}}, new=True)


class _Keys:
    async def tenant(self, authorization: str | None) -> str:
        return f"tenant of {authorization}"


@pytest.fixture
def submitter() -> _Submitter:
    return _Submitter()


@pytest.fixture
def http(submitter: _Submitter) -> httpx.AsyncClient:
    app = FastAPI()
    app.state.services = object.__new__(Services)
    limits = Limits(Database(PostgresSettings(), application="test"), LimitSettings())
    for name, part in {
        "submitter": submitter,
        "keys": _Keys(),
        "limits": limits,
        "settings": SimpleNamespace(),
    }.items():
        object.__setattr__(app.state.services, name, part)
    app.router.routes.extend(jobs.router.routes)
    problems.install(app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


async def test_the_route_gives_its_endpoint_all_that_the_signature_documents(
    http: httpx.AsyncClient, submitter: _Submitter
) -> None:
    resolved = {"body", "services", "tenant", "sent", "idempotency_key", "prefer", "traceparent"}
    assert set(inspect.signature(jobs.submit).parameters) == resolved
    answer = await http.post(
        "/v1/jobs",
        json={"kind": "noop", "input": {"steps": 3}},
        headers={
            "Authorization": "Bearer k",
            "Idempotency-Key": "once",
            "traceparent": "00-a-b-01",
            "Prefer": "wait=0",
        },
    )
    assert (answer.status_code, answer.headers["location"]) == (202, "/here")
    [asked] = submitter.asked
    assert asked["submission"].input.steps == 3
    assert json.loads(asked["sent"]) == {"kind": "noop", "input": {"steps": 3}}
    assert {name: asked[name] for name in ("tenant", "idempotency_key", "traceparent")} == {
        "tenant": "tenant of Bearer k",
        "idempotency_key": "once",
        "traceparent": "00-a-b-01",
    }


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b"", 400, "malformed_json", "body"),
        (b"{", 400, "malformed_json", "body"),
        (b'{"kind": "noop", "input": {"sleep_s": NaN}}', 400, "malformed_json", "body"),
        (b'{"kind": "noop", "input": {"sleep_s": "\xff"}}', 400, "malformed_json", "body"),
        (b"[]", 422, "invalid_input", "body"),
        (b'{"kind": "dance", "input": {}}', 422, "unknown_kind", "kind"),
        (b'{"kind": "noop", "input": {"sleep_s": -1}}', 422, "invalid_input", "input.sleep_s"),
        (b'{"kind": "noop", "input": {}, "lanes": 1}', 422, "invalid_input", "lanes"),
    ],
)
async def test_a_wrong_body_is_answered_as_by_every_other_route(
    http: httpx.AsyncClient, submitter: _Submitter, body: bytes, status: int, code: str, field: str
) -> None:
    answer = await http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (status, code, field)
    assert answer.headers["content-type"] == "application/problem+json"
    assert submitter.asked == []


@pytest.mark.parametrize("key", ["k" * 256, "tab\tin it"])
async def test_an_idempotency_key_has_at_most_255_printable_characters(
    http: httpx.AsyncClient, submitter: _Submitter, key: str
) -> None:
    answer = await http.post("/v1/jobs", json={"kind": "noop", "input": {}}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")
    assert submitter.asked == []
