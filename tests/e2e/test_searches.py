"""A search over HTTP is answered without a job, and as the job that only retrieves would answer it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from producers.client.sync import Client
from schemas.searches import HIT
from tests.e2e.test_corpus import index

TEXTS = {
    "고래": "고래는 바다에 사는 포유류이다. 고래는 허파로 숨을 쉰다. 고래는 새끼를 낳아 젖을 먹인다.",
    "소나무": "소나무는 사철 푸른 나무이다. 소나무는 산에서 잘 자란다. 산에는 고래가 없다.",
}
SEARCHES: list[dict[str, Any]] = [
    {"query": "고래는 무엇으로 숨을 쉬나"},
    {"query": "산과 바다", "top_k": 1},
    {"query": "고래", "filter": {"year": {"gte": 2021}}},
    {"query": "고래", "filter": {"or": [{"kind": "동물"}, {"year": 2024}]}, "rerank": False},
    {"query": "?!"},
    {"query": "고래", "filter": {"colour": "red"}},
    {"query": "고래", "rerank": True},
]


@pytest.fixture
def filled(client: Client, collection: str) -> Iterator[str]:
    small = {"chunking": {"max_chars": 50, "overlap_sentences": 0}}
    years = dict(zip(TEXTS, (2020, 2024), strict=True))
    documents = [
        {"id": name, "text": text, "metadata": {"kind": "동물" if name == "고래" else "식물", "year": years[name]}}
        for name, text in TEXTS.items()
    ]
    assert index(client, collection, *documents, settings=small) == {"added": 2}
    yield collection
    client.delete_collection(collection)


def retrieved(client: Client, collection: str, body: dict[str, Any]) -> list[dict[str, Any]] | str:
    """The hits of a job that only retrieves, or the code of its error."""
    asked = {**body, "question": body["query"], "collection": collection, "generate": None}
    del asked["query"]
    job = client.wait(client.submit("inference", asked).id)
    if job.error is not None:
        return job.error.code
    assert job.result is not None
    return [{field: hit[field] for field in HIT} for hit in job.result["citations"]]


def test_a_search_finds_what_a_job_retrieves_and_leaves_none(client: Client, http: httpx.Client, filled: str) -> None:
    expected = [retrieved(client, filled, body) for body in SEARCHES]

    def newest() -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = http.get("/v1/jobs", params={"kind": "inference", "limit": 1}).json()["data"]
        return jobs

    before = newest()
    answers = [http.post(f"/v1/collections/{filled}/search", json=body) for body in SEARCHES]
    found = [answer.json().get("data", answer.json().get("code")) for answer in answers]
    assert found == expected
    assert [answer.status_code for answer in answers] == [200] * 5 + [422] * 2
    assert newest() == before
