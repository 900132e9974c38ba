"""What protects a deployment in which nobody has configured anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from infra.loopback import is_loopback
from infra.postgres.keys import create_key
from infra.settings import (
    CONCERNS,
    GatewaySettings,
    KafkaSettings,
    PostgresSettings,
)
from schemas.errors import InvalidInput
from tests.integration.gateways import gateway_app


@asynccontextmanager
async def serving(postgres: PostgresSettings, folder: Path, auth: str) -> AsyncIterator[httpx.AsyncClient]:
    app = gateway_app(postgres, folder, auth=auth)
    async with app.router.lifespan_context(app):
        await app.state.services.database.opened.wait()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as http:
            yield http


def test_every_listener_and_every_part_is_on_this_machine_by_default() -> None:
    hosts: dict[str, str] = {}
    for concern in CONCERNS:
        for name, field in concern.model_fields.items():
            if name.endswith("host"):
                hosts[f"{concern.__name__}.{name}"] = field.default
    assert set(hosts) == {"GatewaySettings.host", "WorkerSettings.metrics_host", "SearchSettings.host"}
    assert all(is_loopback(host) for host in hosts.values())
    assert GatewaySettings.model_fields["auth"].default == "on"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_what_is_this_machine(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, 200),
        ({"Host": "LOCALHOST", "Origin": "https://localhost"}, 200),
        ({"Host": "localhost", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "127.0.0.1:8080", "Origin": "http://localhost:8080"}, 403),
        ({"Host": "rebound.example.com:8080"}, 403),
        ({"Host": "127.0.0.1.example.com"}, 403),
        ({"Host": "10.0.0.5:8080"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_without_authentication_a_web_page_gets_nothing(
    postgres: PostgresSettings, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async with serving(postgres, tmp_path, "off") as http:
        answer = await http.get("/v1/jobs", headers=headers)
        assert answer.status_code == status, answer.text
        if status == 403:
            assert answer.json()["code"] == "not_local"
            posted = await http.post("/v1/files", files={"file": ("f", b"x")}, headers=headers)
            assert posted.status_code == 403
            assert list((tmp_path / "objects").iterdir()) == []


async def test_with_authentication_any_name_will_do(postgres: PostgresSettings, tmp_path: Path) -> None:
    async with serving(postgres, tmp_path, "on") as http:
        answer = await http.get("/healthz", headers={"Host": "welip.example.com", "Origin": "https://app.example.com"})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


async def test_a_stored_page_is_not_run_as_a_page_of_this_server(postgres: PostgresSettings, tmp_path: Path) -> None:
    async with serving(postgres, tmp_path, "off") as http:
        stored = await http.post("/v1/files", files={"file": ("x.html", b"<script>alert(1)</script>", "text/html")})
        answer = await http.get(f"/v1/files/{stored.json()['id']}/content")
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/docs", "/asyncapi"])
async def test_pages_run_their_own_scripts_alone(postgres: PostgresSettings, tmp_path: Path, path: str) -> None:
    async with serving(postgres, tmp_path, "on") as http:
        answer = await http.get(path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in policy["script-src"]
    assert answer.text.count("<script>") == policy["script-src"].count("'sha256-")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/v1/jobs", "/healthz", "/nothing", "/docs/assets/swagger-ui.css"])
async def test_every_answer_is_what_it_says(postgres: PostgresSettings, tmp_path: Path, path: str) -> None:
    async with serving(postgres, tmp_path, "on") as http:
        assert (await http.get(path)).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/docs/assets/../../../pyproject.toml",
        "/docs/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/docs/assets/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/files/..%2f..%2fetc%2fpasswd/content",
        "/v1/collections/..%2fother",
    ],
)
async def test_no_path_leads_out_of_what_is_served(postgres: PostgresSettings, tmp_path: Path, path: str) -> None:
    async with serving(postgres, tmp_path, "off") as http:
        answer = await http.get(httpx.URL(f"http://127.0.0.1:8080{path}"))
    assert answer.status_code in (404, 422), answer.text


async def test_a_file_s_name_is_never_a_path(postgres: PostgresSettings, tmp_path: Path) -> None:
    async with serving(postgres, tmp_path, "off") as http:
        for name in ("../../escape.txt", "/etc/passwd", "..\\..\\escape.txt"):
            stored = await http.post("/v1/files", files={"file": (name, b"x")})
            assert stored.status_code == 200
            assert "/" not in stored.json()["filename"]
            assert "\\" not in stored.json()["filename"]
    assert await asyncio.to_thread(folders, tmp_path) == {"objects/default/files"}


def folders(root: Path) -> set[str]:
    """The folders below `root` that contain files."""
    return {path.parent.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("tenant", ["", "..", "../x", "a/b", ".hidden", "a b", "x" * 64, "a\n"])
def test_a_tenant_s_name_is_one_segment(tenant: str) -> None:
    with pytest.raises(InvalidInput, match="not a tenant's name"):
        create_key("postgresql://127.0.0.1:9/nobody", tenant, "")


def test_addresses_in_settings_are_local() -> None:
    urls = [PostgresSettings().url.get_secret_value(), f"//{KafkaSettings().url}"]
    assert all(is_loopback(urlsplit(url).hostname or "") for url in urls)
