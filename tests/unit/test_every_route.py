"""The application's own list of routes: all that need a key are in the document from which other tests take them."""

from pathlib import Path

import pytest
from fastapi import FastAPI

from gateway.app import create_app
from infra.settings import (
    BlobsSettings,
    GatewaySettings,
    KafkaSettings,
    PostgresSettings,
    RelaySettings,
    RescueSettings,
    WebhookSettings,
)

OPEN = {"/healthz", "/readyz", "/metrics", "/docs", "/docs/assets", "/openapi.json", "/asyncapi", "/asyncapi.json"}
"""The routes that answer without a key; a new route is closed unless it is added here."""


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(
        gateway=GatewaySettings.model_validate({"WELIP_AUTH": "on", "agents": False}),
        postgres=PostgresSettings(),
        kafka=KafkaSettings(),
        blobs=BlobsSettings.model_validate({"url": f"file://{tmp_path}"}),
        relay=RelaySettings(),
        rescue=RescueSettings(),
        webhook=WebhookSettings(),
    )


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """The method and path of every route; GET for a mounted folder."""
    found: set[tuple[str, str]] = set()
    for route in app.routes:
        path: str = route.path  # type: ignore[attr-defined]
        methods = getattr(route, "methods", None) or {"GET"}
        found |= {(method, path.replace(":path}", "}")) for method in methods if method != "HEAD"}
    return found


def test_every_route_that_is_not_known_to_be_open_is_documented_as_needing_a_key(app: FastAPI) -> None:
    closed = {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if operation.get("security") == [{"ApiKey": []}]
    }
    every = routes(app)
    assert {path for _, path in every if not path.startswith("/v1/")} == OPEN
    assert {(method, path) for method, path in every if path not in OPEN} == closed
    assert len(closed) > 25


def test_what_can_be_limited_says_so(app: FastAPI) -> None:
    limited = {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if "429" in operation["responses"]
    }
    assert limited >= {
        ("POST", "/v1/jobs"),
        ("POST", "/v1/files"),
        ("POST", "/v1/collections/{name}/search"),
        ("PATCH", "/v1/collections/{name}"),
        ("DELETE", "/v1/collections/{name}"),
        ("DELETE", "/v1/collections/{name}/documents/{id}"),
    }
