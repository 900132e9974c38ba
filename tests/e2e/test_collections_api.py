"""A collection over HTTP and on the command line: settings that change at once or by reindexing, and filters."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from producers.client.errors import ApiError, JobFailed
from producers.client.sync import Client
from schemas.collections import CollectionSettings, CollectionSummary, CollectionView
from schemas.jobs import JobView
from tests.e2e.processes import Up, cli
from tests.e2e.test_corpus import counts, index
from tests.e2e.test_jobs_api import problem

INVALID = "invalid_input"
WHALES = (
    "고래는 바다에 사는 포유류이다. 고래는 허파로 숨을 쉰다. 고래는 새끼를 낳아 젖을 먹인다. 고래는 노래를 부른다. "
)
PINES = (
    "소나무는 사철 푸른 나무이다. 소나무는 솔방울을 맺는다. 소나무는 산에서 잘 자란다. 소나무는 송편을 찔 때 쓰인다. "
)
LAW = """# 해양 보호법

## 제1장 총칙

### 제2조 정의

포유류란 새끼를 낳아 젖을 먹이는 동물로서 바다에 사는 고래와 물범과 수달을 말한다.

## 제2장 벌칙

이 법을 어기고 고래를 잡은 사람에게 내리는 벌금은 백만 원이며 배는 빼앗는다.
"""


@pytest.fixture
def filled(client: Client, collection: str) -> Iterator[str]:
    """A collection with two documents of several chunks each, with metadata."""
    small = {"chunking": {"max_chars": 80, "overlap_sentences": 0}}
    whales = {"id": "고래", "text": WHALES * 4, "metadata": {"kind": "동물", "year": 2020}}
    pines = {"id": "소나무", "text": PINES * 4, "metadata": {"kind": "식물", "year": 2024}}
    assert index(client, collection, whales, pines, settings=small) == {"added": 2}
    yield collection
    client.delete_collection(collection)


def changed(http: httpx.Client, name: str, **body: Any) -> dict[str, Any]:
    """The job of an accepted change, after it has succeeded."""
    answer = http.patch(f"/v1/collections/{name}", json=body)
    assert answer.status_code == 202, answer.text
    JobView.model_validate(answer.json())
    assert answer.headers["location"] == answer.json()["links"]["self"]
    ended: dict[str, Any] = http.get(answer.headers["location"], headers={"Prefer": "wait=60"}).json()
    assert ended["state"] == "succeeded", ended["error"]
    return ended


def looked_at(http: httpx.Client, name: str) -> CollectionView:
    body = http.get(f"/v1/collections/{name}").json()
    assert set(body) == set(CollectionView.model_fields)
    return CollectionView.model_validate(body)


def test_a_collection_shows_what_it_was_made_with(http: httpx.Client, filled: str) -> None:
    shown = looked_at(http, filled)
    assert shown.settings == CollectionSettings().changed({"chunking": {"max_chars": 80, "overlap_sentences": 0}})
    assert (shown.encoder.dense, shown.encoder.dimension, shown.encoder.learned) == (None, None, False)
    assert shown.encoder.sparse
    assert (shown.documents, shown.fields, shown.rebuild) == (2, ["kind", "year"], None)
    assert shown.chunks > 4
    listed = {one["name"]: one for one in http.get("/v1/collections", params={"limit": 100}).json()["data"]}
    assert set(listed[filled]) == set(CollectionSummary.model_fields)
    assert listed[filled] == shown.model_dump(mode="json", include=set(CollectionSummary.model_fields))


def test_what_vectors_do_not_depend_on_changes_at_once(client: Client, http: httpx.Client, filled: str) -> None:
    before = looked_at(http, filled)
    assert len(client.search(filled, "고래", top_k=3)) == 3
    assert client.search(filled, "cetacea") == []
    fusion = {"per_document": 1}
    job = changed(http, filled, settings={"fusion": fusion, "sparse": {"synonyms": [["cetacea", "고래"]]}})
    assert (job["result"]["rebuilt"], job["result"]["chunks"]) == (0, 0)
    assert [hit.document_id for hit in client.search(filled, "고래", top_k=3)] == ["고래"]
    assert [hit.document_id for hit in client.search(filled, "cetacea")] == ["고래"]
    after = looked_at(http, filled)
    assert (after.generation, after.chunks) == (before.generation, before.chunks)
    assert after.settings.fusion.per_document == 1
    assert after.settings.chunking == before.settings.chunking, "what was not named stays"


def test_what_vectors_depend_on_indexes_again_while_searches_go_on(
    client: Client, http: httpx.Client, filled: str
) -> None:
    more = [{"id": f"d{n}", "text": f"{n}번 글. {PINES * 3}"} for n in range(300)]
    for job in client.index_documents(filled, more):
        assert counts(client, job) == {"added": 300}
    before = looked_at(http, filled)
    done = Event()

    def search_until_done() -> list[list[str]]:
        found = []
        while not done.is_set():
            found.append([hit.document_id for hit in client.search(filled, "허파로 숨을 쉰다", top_k=1)])
        return found

    with ThreadPoolExecutor(1) as pool:
        searches = pool.submit(search_until_done)
        try:
            answer = http.patch(f"/v1/collections/{filled}", json={"settings": {"chunking": {"max_chars": 200}}})
            job_id = answer.json()["id"]
            meanwhile = looked_at(http, filled)
            added = index(client, filled, {"id": "새 글", "text": "수달은 강에 사는 족제비과 동물이다."})
            ended = client.wait(job_id, timeout=120)
        finally:
            done.set()
    assert ended.state == "succeeded", ended.error
    assert ended.lane == "bulk"
    assert added == {"added": 1}
    if meanwhile.rebuild is not None:  # None if the rebuild had not begun, or was already over
        assert (meanwhile.rebuild.job, meanwhile.rebuild.settings.chunking.max_chars) == (job_id, 200)
    assert set(map(tuple, searches.result())) == {("고래",)}
    after = looked_at(http, filled)
    assert after.generation != before.generation
    assert (after.rebuild, after.settings.chunking.max_chars, after.documents) == (None, 200, 303)
    assert after.chunks < before.chunks
    assert client.result(job_id)["rebuilt"] >= 302
    assert len(client.search(filled, "허파로 숨을 쉰다", top_k=1)[0].text) > 80
    assert client.search(filled, "수달")[0].document_id == "새 글"


def test_a_rebuild_may_be_asked_for_although_nothing_changes(client: Client, http: httpx.Client, filled: str) -> None:
    before = looked_at(http, filled)
    assert changed(http, filled, settings={"chunking": {"max_chars": 80}})["result"]["rebuilt"] == 0
    assert changed(http, filled, rebuild=True)["result"]["rebuilt"] == 2
    after = looked_at(http, filled)
    assert after.generation != before.generation
    assert (after.settings, after.chunks, after.documents) == (before.settings, before.chunks, before.documents)
    assert client.search(filled, "솔방울")[0].document_id == "소나무"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"settings": None}, "body"),
        ({"rebuild": False}, "body"),
        ({"rebuild": "yes"}, "rebuild"),
        ({"settings": []}, "settings"),
        ({"colour": "red"}, "colour"),
        ({"settings": {"colour": "red"}}, "settings.colour"),
        ({"settings": {"fusion": {"weights": {"sparse": 2}}}}, "settings.fusion.weights.sparse"),
        ({"settings": {"fusion": {"weights": {"sparse": 0, "dense": 0}}}}, "settings.fusion.weights"),
        ({"settings": {"fusion": {"method": "best"}}}, "settings.fusion.method"),
        ({"settings": {"chunking": {"max_chars": "300"}}}, "settings.chunking.max_chars"),
        ({"settings": {"chunking": {"max_chars": 2**70}}}, "settings.chunking.max_chars"),
        ({"settings": {"sparse": {"words": ["", "위립"]}}}, "settings.sparse.words[0]"),
        ({"settings": {"sparse": {"synonyms": [["차"]]}}}, "settings.sparse.synonyms"),
        ({"settings": {"sparse": {"synonyms": [["차" * 100, "자동차" * 30]] * 600}}}, "settings.sparse.synonyms"),
        ({"settings": {"sparse": {"k1": True}}}, "settings.sparse.k1"),
    ],
)
def test_a_wrong_change_is_refused_and_nothing_happens(
    client: Client, http: httpx.Client, body: Any, field: str
) -> None:
    jobs = [job.id for job in client.jobs(limit=3).data]
    answer = http.patch("/v1/collections/sample", json=body)
    assert problem(answer) == (422, INVALID, field)
    assert answer.json()["remedy"]
    assert [job.id for job in client.jobs(limit=3).data] == jobs


def test_what_is_not_valid_together_with_what_stays_is_refused(http: httpx.Client, filled: str) -> None:
    only_sparse = {"fusion": {"weights": {"sparse": 1, "dense": 0, "learned": 0}}}
    changed(http, filled, settings=only_sparse)
    answer = http.patch(f"/v1/collections/{filled}", json={"settings": {"fusion": {"weights": {"sparse": 0}}}})
    assert problem(answer) == (422, INVALID, "settings.fusion.weights")
    assert looked_at(http, filled).settings.fusion.weights.sparse == 1


def test_an_unknown_collection_is_not_made_by_a_change(http: httpx.Client) -> None:
    answer = http.patch("/v1/collections/never-made", json={"settings": {"sparse": {"k1": 0.9}}})
    assert problem(answer) == (404, "collection_not_found", "name")
    assert problem(http.get("/v1/collections/never-made"))[0] == 404


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"kind": "동물"}, {"고래"}),
        ({"kind": ["동물", "식물"]}, {"고래", "소나무"}),
        ({"year": {"gte": 2020, "lt": 2024}}, {"고래"}),
        ({"year": {"gt": 2020}}, {"소나무"}),
        ({"kind": {"ne": "동물"}}, {"소나무"}),
        ({"kind": {"nin": ["동물", "식물"]}}, set()),
        ({"or": [{"kind": "동물"}, {"year": {"gte": 2024}}]}, {"고래", "소나무"}),
        ({"and": [{"kind": "동물"}, {"or": [{"year": 2020}, {"year": 2021}]}]}, {"고래"}),
    ],
)
def test_a_filter_leaves_what_it_says(client: Client, both: str, filter: dict[str, Any], found: set[str]) -> None:
    hits = client.search(both, "고래 소나무", top_k=20, filter=filter)
    assert {hit.document_id for hit in hits} == found


@pytest.fixture(scope="module")
def both(client: Client) -> Iterator[str]:
    whales = {"id": "고래", "text": WHALES, "metadata": {"kind": "동물", "year": 2020}}
    pines = {"id": "소나무", "text": PINES, "metadata": {"kind": "식물", "year": 2024}}
    assert index(client, "both", whales, pines) == {"added": 2}
    yield "both"
    client.delete_collection("both")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"filter": {"colour": "red"}}, "filter_field_unknown", "filter"),
        ({"rerank": True}, "reranker_missing", "rerank"),
        ({"rerank": "yes"}, INVALID, "rerank"),
        ({"top_k": 0}, INVALID, "top_k"),
        ({"top_k": 10_000}, INVALID, "top_k"),
    ],
)
def test_a_search_that_cannot_be_answered_names_the_field(
    http: httpx.Client, both: str, body: Any, code: str, field: str
) -> None:
    answer = http.post(f"/v1/collections/{both}/search", json={"query": "고래", **body})
    assert problem(answer) == (422, code, field)
    if code == "filter_field_unknown":
        assert "kind" in answer.json()["detail"], "what there is"


def test_a_question_that_cannot_be_answered_fails_with_the_same_code(client: Client, both: str) -> None:
    for options, code in (
        ({"filter": {"colour": "red"}}, "filter_field_unknown"),
        ({"rerank": True}, "reranker_missing"),
    ):
        with pytest.raises(JobFailed) as failure:
            client.ask(both, "고래는?", **options)  # type: ignore[arg-type]
        assert failure.value.code == code


def test_passages_and_citations_say_under_which_heading_they_stand(client: Client, collection: str) -> None:
    law = {"id": "법", "text": LAW, "format": "markdown"}
    assert index(client, collection, law, settings={"chunking": {"max_chars": 50, "overlap_sentences": 0}})
    [hit] = client.search(collection, "젖을 먹이는 동물", top_k=1)
    assert (hit.title, hit.page) == ("해양 보호법", None)
    assert hit.heading == "해양 보호법 > 제1장 총칙 > 제2조 정의"
    answer = client.ask(collection, "고래를 잡은 사람에게 내리는 벌금은 얼마인가요?")
    assert answer.found
    assert answer.citations[0].heading == "해양 보호법 > 제2장 벌칙"


def test_of_several_documents_with_one_id_the_first_is_kept_and_the_others_are_named(
    client: Client, collection: str
) -> None:
    given = [
        {"id": "d", "text": "고래는 포유류이다."},
        {"id": "d", "text": "상어는 물고기이다."},
        {"id": "e", "text": "소나무."},
    ]
    [job] = client.index_documents(collection, given)
    assert counts(client, job) == {"added": 2, "failed": 1}
    [error] = client.result(job.id)["errors"]
    assert (error["id"], error["code"]) == ("d", "duplicate_id")
    assert client.search(collection, "상어") == []


def test_chunks_of_an_old_collection_are_not_changed_by_the_way(client: Client, filled: str) -> None:
    document = {"id": "e", "text": "참새는 새이다."}
    [job] = client.index_documents(filled, [document], chunking={"max_chars": 500})
    ended = client.wait(job.id, timeout=120)
    assert ended.error is not None
    assert ended.error.code == "settings_differ"
    assert index(client, filled, document, chunking={"max_chars": 80, "overlap_sentences": 0}) == {"added": 1}


class TestCommandLine:
    """The same through `welip collections`."""

    def run(self, up: Up, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return cli("collections", *arguments, cwd=cwd, WELIP_URL=up.url)

    def test_settings_are_changed_shown_and_the_collection_dropped(
        self, up: Up, client: Client, collection: str, tmp_path: Path
    ) -> None:
        index(client, collection, {"id": "고래", "text": WHALES * 3})
        (tmp_path / "words.txt").write_text("위립\n")
        again = self.run(up, "set", collection, "--max-chars", "100", "--words", str(tmp_path / "words.txt"))
        assert again.returncode == 0, again.stderr
        assert "chunking.max_chars: 400 -> 100" in again.stderr
        assert "all 1 documents are indexed again" in again.stderr
        assert "sparse.words: none -> 1: 위립" in again.stderr
        assert again.stdout == f"changed {collection}: 1 documents were indexed again\n"
        once = self.run(up, "set", collection, "--weights", "sparse=.7,dense=.3", "--json")
        assert json.loads(once.stdout)["state"] == "succeeded"
        shown = json.loads(self.run(up, "show", collection, "--json").stdout)
        assert shown["settings"]["fusion"]["weights"] == {"sparse": 0.7, "dense": 0.3, "learned": 0.0}
        assert (shown["settings"]["chunking"]["max_chars"], shown["rebuild"]) == (100, None)
        rebuilt = self.run(up, "rebuild", collection)
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert client.collection(collection).generation != shown["generation"]
        wrong = self.run(up, "set", collection, "--weights", "sparse=2")
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "settings.fusion.weights.sparse" in wrong.stderr
        dropped = self.run(up, "drop", collection)
        assert (dropped.returncode, dropped.stdout) == (0, f"dropped {collection}: 1 documents\n")
        with pytest.raises(ApiError):
            client.collection(collection)
        missing = self.run(up, "set", collection, "--k1", "1")
        assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
