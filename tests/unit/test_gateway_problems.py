"""One body for every error: a problem (RFC 9457) that contains the error in the form that OpenAI's clients read."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from gateway.app import create_app
from gateway.http.connections import MALFORMED, TOO_LARGE, TOO_SLOW
from gateway.http.errors import STATUS, NotDoneYet, RangeUnsatisfiable
from gateway.http.limits import QueueFull, RateLimited, StorageFull
from infra.settings import (
    BlobsSettings,
    GatewaySettings,
    KafkaSettings,
    PostgresSettings,
    RelaySettings,
    RescueSettings,
    WebhookSettings,
)
from schemas.answers import Problem
from schemas.errors import JobError


def _raisable() -> Iterator[tuple[JobError, int]]:
    """An error of each class that has a status, and of narrower classes."""
    for kind, status in STATUS:
        yield RangeUnsatisfiable(3) if kind is RangeUnsatisfiable else kind("this is why", field="name"), status
    for narrower in (RateLimited, QueueFull, StorageFull):
        yield narrower("this is why"), 429
    yield NotDoneYet("this is why"), 503
    yield JobError("this is why"), 500


RAISED = list(_raisable())
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 500: "server_error"}


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    made = create_app(
        gateway=GatewaySettings.model_validate({"WELIP_AUTH": "on", "agents": False, "max_body_bytes": 2048}),
        postgres=PostgresSettings(),
        kafka=KafkaSettings(),
        blobs=BlobsSettings.model_validate({"url": f"file://{tmp_path}"}),
        relay=RelaySettings(),
        rescue=RescueSettings(),
        webhook=WebhookSettings(),
    )

    async def fail(number: int) -> None:
        raise RAISED[number][0]

    async def break_down() -> None:
        raise ZeroDivisionError

    made.add_api_route("/fail/{number}", fail, methods=["POST"])
    made.add_api_route("/defect", break_down)
    return made


@pytest.fixture
def http(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


def checked(answer: httpx.Response) -> Problem:
    assert answer.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate_json(answer.content, strict=True)
    assert found.status == answer.status_code
    assert (found.error.code, found.error.param) == (found.code, found.field)
    assert found.detail in found.error.message
    assert (found.remedy or "") in found.error.message
    server = "server_error" if answer.status_code >= 500 else "invalid_request_error"
    assert found.error.type == TYPES.get(answer.status_code, server)
    return found


@pytest.mark.parametrize("number", range(len(RAISED)), ids=[type(error).__name__ for error, _ in RAISED])
async def test_every_error_is_read_by_both_kinds_of_clients(http: httpx.AsyncClient, number: int) -> None:
    error, status = RAISED[number]
    answer = await http.post(f"/fail/{number}")
    found = checked(answer)
    assert (found.status, found.code, found.detail) == (status, error.reason, error.message)
    repeated = status in (408, 409, 429) or status >= 500
    assert answer.headers.get("x-should-retry") == ("false" if repeated and not error.retryable else None)


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/docs/assets/nothing.js", None, 404),
        ("PUT", "/v1/jobs", None, 405),
        ("GET", "/v1/jobs", None, 401),
        ("POST", "/v1/jobs", b"x" * 4096, 413),
        ("POST", "/fail/zero", None, 422),
        ("GET", "/defect", None, 500),
    ],
)
async def test_what_no_route_answers_is_answered_alike(
    http: httpx.AsyncClient, method: str, path: str, sent: bytes | None, status: int
) -> None:
    answer = await http.request(method, path, content=sent)
    assert checked(answer).status == status


@pytest.mark.parametrize("refused", [MALFORMED, TOO_LARGE, TOO_SLOW])
def test_so_is_what_never_became_a_request(refused: bytes) -> None:
    head, _, body = refused.partition(b"\r\n\r\n")
    found = Problem.model_validate(json.loads(body))
    assert head.startswith(b"HTTP/1.1 %d " % found.status)
    assert b"Content-Length: %d" % len(body) in head
    assert found.error.code == found.code


def test_the_document_promises_both(app: FastAPI) -> None:
    schema = app.openapi()["components"]["schemas"]
    assert "error" in schema["Problem"]["required"]
    assert set(schema["OpenAIError"]["required"]) == {"message", "type", "param", "code"}
