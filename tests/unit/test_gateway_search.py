"""The route of a search, which resolves by hand what its signature documents."""

import inspect
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.collections import routes as collections
from gateway.http import problems
from gateway.http.limits import Limits
from gateway.services import Services
from infra.postgres.database import Database
from infra.settings import LimitSettings, PostgresSettings
from schemas.kinds.inference import InferenceInput


class _Searches:
    """Records what is asked, and finds nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, InferenceInput]] = []

    async def answer(self, tenant: str, wanted: InferenceInput) -> bytes:
        self.asked.append((tenant, wanted))
        return b'{"data":[]}'


class _Keys:
    async def tenant(self, authorization: str | None) -> str:
        return f"tenant of {authorization}"


@pytest.fixture
def searches() -> _Searches:
    return _Searches()


@pytest.fixture
def http(searches: _Searches) -> httpx.AsyncClient:
    app = FastAPI()
    app.state.services = object.__new__(Services)
    limits = Limits(Database(PostgresSettings(), application="test"), LimitSettings(rate=0.001, burst=1))
    for name, part in {"searches": searches, "keys": _Keys(), "limits": limits}.items():
        object.__setattr__(app.state.services, name, part)
    app.router.routes.extend(collections.router.routes)
    problems.install(app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


async def test_the_route_gives_its_endpoint_all_that_the_signature_documents(
    http: httpx.AsyncClient, searches: _Searches
) -> None:
    assert set(inspect.signature(collections.search).parameters) == {"name", "body", "request", "services", "tenant"}
    body: dict[str, Any] = {"query": " 고래 ", "top_k": 7, "filter": {"year": {"gte": 2020}}, "rerank": False}
    http.headers["Authorization"] = "Bearer k"
    answer = await http.post("/v1/collections/ko/search", json=body)
    assert (answer.status_code, answer.content) == (200, b'{"data":[]}')
    assert answer.headers["content-type"] == "application/json"
    [(tenant, wanted)] = searches.asked
    assert tenant == "tenant of Bearer k"
    assert wanted == InferenceInput(
        collection="ko", question="고래", top_k=7, filter={"year": {"gte": 2020}}, rerank=False, generate=None
    )
    assert (await http.post("/v1/collections/ko/search", json=body)).status_code == 429, "a search is a submission"


@pytest.mark.parametrize(
    ("name", "body", "status", "code", "field"),
    [
        ("ko", b"", 400, "malformed_json", "body"),
        ("ko", b'{"query": "?", "filter": {"n": NaN}}', 400, "malformed_json", "body"),
        ("ko", b"[]", 422, "invalid_input", "body"),
        ("ko", b'{"query": ""}', 422, "invalid_input", "query"),
        ("ko", b'{"query": "?", "top_k": "5"}', 422, "invalid_input", "top_k"),
        ("ko", b'{"query": "?", "colour": 1}', 422, "invalid_input", "colour"),
        ("No Name", b'{"query": "?"}', 422, "invalid_input", "name"),
    ],
)
async def test_a_wrong_search_is_answered_as_by_every_other_route(
    http: httpx.AsyncClient, searches: _Searches, name: str, body: bytes, status: int, code: str, field: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await http.post(f"/v1/collections/{name}/search", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (status, code, field)
    assert answer.headers["content-type"] == "application/problem+json"
    assert searches.asked == []
