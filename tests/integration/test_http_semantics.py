"""What RFC 9110 promises for every resource: HEAD, conditional requests, and no redirect to where a request points."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from infra.settings import PostgresSettings
from tests.integration.jobs import Jobs
from tests.integration.test_safe_defaults import serving

CONTENT = b"0123456789"


@pytest.fixture
async def http(postgres: PostgresSettings, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(postgres, tmp_path, "off") as client:
        yield client


@pytest.fixture
async def file(http: httpx.AsyncClient) -> str:
    """The path of an uploaded file."""
    made = await http.post("/v1/files", files={"file": ("f.txt", CONTENT)})
    return f"/v1/files/{made.json()['id']}"


async def test_head_is_the_head_of_get(http: httpx.AsyncClient, file: str) -> None:
    paths = [file, f"{file}/content", "/v1/files", "/v1/jobs", "/healthz", "/openapi.json", "/docs", "/v1/nothing"]
    for path in paths:
        get, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert head.headers == get.headers, path


async def test_the_head_of_a_stream_does_not_wait_for_its_end(http: httpx.AsyncClient, jobs: Jobs) -> None:
    [job] = await jobs.submit()
    answer = await http.head(f"/v1/jobs/job_{job.hex}/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("headers", "status", "content"),
    [
        ({"If-None-Match": "TAG"}, 304, b""),
        ({"If-None-Match": 'W/TAG, "other"'}, 304, b""),
        ({"If-None-Match": '"other" , TAG'}, 304, b""),
        ({"If-None-Match": "*"}, 304, b""),
        ({"If-None-Match": "TAG", "Range": "bytes=0-1"}, 304, b""),
        ({"If-None-Match": '"other"'}, 200, CONTENT),
        ({"If-None-Match": "nonsense"}, 200, CONTENT),
        ({"If-Match": "TAG"}, 200, CONTENT),
        ({"If-Match": "*"}, 200, CONTENT),
        ({"If-Match": '"other"'}, 412, None),
        ({"If-Match": "W/TAG"}, 412, None),
        ({"If-Match": '"other"', "If-None-Match": "TAG"}, 412, None),
        ({"If-Range": "TAG", "Range": "bytes=2-3"}, 206, b"23"),
        ({"If-Range": '"other"', "Range": "bytes=2-3"}, 200, CONTENT),
        ({"If-Range": "W/TAG", "Range": "bytes=2-3"}, 200, CONTENT),
        ({"If-Range": "Mon, 30 Nov 2026 09:00:00 GMT", "Range": "bytes=2-3"}, 200, CONTENT),
        ({"If-Range": '"other"', "Range": "bytes=99-"}, 200, CONTENT),
    ],
)
async def test_conditions_are_honoured(
    http: httpx.AsyncClient, file: str, headers: dict[str, str], status: int, content: bytes | None
) -> None:
    tag = (await http.head(f"{file}/content")).headers["etag"]
    asked = {name: value.replace("TAG", tag) for name, value in headers.items()}
    answer = await http.get(f"{file}/content", headers=asked)
    assert answer.status_code == status
    assert answer.headers.get("etag") == (None if status == 412 else tag)
    if content is None:
        assert (answer.json()["code"], answer.json()["field"]) == ("precondition_failed", "If-Match")
    else:
        assert answer.content == content
    head = await http.head(f"{file}/content", headers=asked)
    assert head.status_code == (200 if status == 206 else status)


@pytest.mark.parametrize(
    "path", ["/v1/jobs/", "/v1/files/", "/v1/collections/", "/healthz/", "/docs/", "//evil.example/"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_nothing_is_redirected(http: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await http.request(method, f"http://127.0.0.1{path}")
    assert answer.status_code in (404, 405)
    assert "location" not in answer.headers
