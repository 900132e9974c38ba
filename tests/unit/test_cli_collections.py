"""`welip collections`: a collection is shown, changed, indexed again and dropped."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.scripted_server import COLLECTION, Peer, job_id, peer, welip, write

__all__ = ["peer"]


def test_a_collection_is_shown_with_each_of_its_settings(peer: Peer) -> None:
    shown = COLLECTION | {"rebuild": {"job": job_id(7), "settings": {}}}
    peer.answers["GET", "/v1/collections/ko"] = httpx.Response(200, json=shown)
    told = welip("collections", "show", "ko").stdout
    assert "1,234 in 5,678 chunks" in told
    assert "bge-m3, 1024 dimensions" in told
    assert job_id(7) in told
    lines = {line.split()[0]: line.split()[1:] for line in told.splitlines() if "." in line}
    assert lines["fusion.weights.dense"] == ["0.5"]
    assert lines["sparse.correct_spacing"] == ["off"]
    assert json.loads(welip("collections", "show", "ko", "--json").stdout)["fields"] == ["year"]
    peer.answers["GET", "/v1/collections"] = httpx.Response(200, json={"data": [COLLECTION]})
    for command in (("collections",), ("collections", "list")):
        assert "1,234" in welip(*command).stdout
        assert json.loads(welip(*command, "--json").stdout)[0]["name"] == "ko"


def changes(peer: Peer) -> list[dict[str, Any]]:
    return [json.loads(request.content) for request in peer.requests if request.method == "PATCH"]


def test_flags_become_the_settings_they_name_on_top_of_a_file(peer: Peer, tmp_path: Path) -> None:
    peer.answers["GET", "/v1/collections/ko"] = httpx.Response(200, json=COLLECTION)
    file = write(tmp_path / "s.json", '{"sparse": {"k1": 0.9, "b": 0.1}, "fusion": {"depth": 9}}')
    words = write(tmp_path / "words.txt", "# 이름\n위립\n\n한글 과컴퓨터 \n")
    synonyms = write(tmp_path / "synonyms.txt", "차, 자동차, 승용차\n법,법률\n")
    result = welip(
        *("collections", "set", "ko", "--settings", file, "--k1", "0.7", "--words", words, "--synonyms", synonyms),
        *("--max-chars", "300", "--overlap", "2", "--max-tokens", "0", "--weights", "sparse=.7, dense=.3"),
        *("--method", "rrf", "--document-share", "0.3", "--per-document", "0", "--correct-spacing", "--no-wait"),
    )
    assert changes(peer) == [
        {
            "settings": {
                "chunking": {"max_chars": 300, "max_tokens": None, "overlap_sentences": 2},
                "sparse": {
                    "k1": 0.7,
                    "b": 0.1,
                    "words": ["위립", "한글 과컴퓨터"],
                    "synonyms": [["차", "자동차", "승용차"], ["법", "법률"]],
                    "correct_spacing": True,
                },
                "fusion": {
                    "depth": 9,
                    "method": "rrf",
                    "weights": {"sparse": 0.7, "dense": 0.3},
                    "document_share": 0.3,
                    "per_document": None,
                },
            }
        }
    ]
    assert result.stdout.split() == [job_id(0)]
    said = result.stderr.splitlines()
    assert "sparse.k1: 0.6 -> 0.7" in said
    assert "sparse.words: none -> 2: 위립, 한글 과컴퓨터" in said
    assert "sparse.synonyms: none -> 2: 차 = 자동차 = 승용차, 법 = 법률" in said
    assert not any(line.startswith("fusion.per_document") for line in said)
    assert any("all 1,234 documents are indexed again" in line for line in said)


def test_a_change_that_vectors_do_not_depend_on_is_said_to_be_at_once(peer: Peer) -> None:
    peer.answers["GET", "/v1/collections/ko"] = httpx.Response(200, json=COLLECTION)
    result = welip("collections", "set", "ko", "--per-document", "2")
    assert "nothing is indexed again" in result.stderr
    assert "fusion.per_document: none -> 2" in result.stderr
    assert result.stdout == "changed ko\n"
    assert "these are its settings already" in welip("collections", "set", "ko", "--k1", "0.6").stderr


def test_a_rebuild_is_asked_for_waited_for_and_its_failure_told(peer: Peer) -> None:
    peer.answers["GET", "/v1/collections/ko"] = httpx.Response(200, json=COLLECTION)
    result = welip("collections", "rebuild", "ko")
    assert "1,234 documents are indexed again" in result.stderr
    assert result.stdout == "changed ko: 1,234 documents were indexed again\n"
    assert changes(peer) == [{"rebuild": True}]
    peer.fault = {"code": "dependency_unavailable", "message": "the index does not answer"}
    assert "[dependency_unavailable]" in welip("collections", "rebuild", "ko", code=1).stderr


def test_a_collection_is_dropped(peer: Peer) -> None:
    peer.answers["GET", "/v1/collections/ko"] = httpx.Response(200, json=COLLECTION)
    gone = {"id": "ko", "object": "collection", "deleted": True}
    peer.answers["DELETE", "/v1/collections/ko"] = httpx.Response(200, json=gone)
    assert welip("collections", "drop", "ko").stdout == "dropped ko: 1,234 documents\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "no setting is given -- name one"),
        (("--weights", "sparse"), "is not arm=weight"),
        (("--settings", "list.json"), "holds no JSON object"),
        (("--settings", "broken.json"), "is not JSON"),
        (("--words", "cp949.txt"), "is not UTF-8"),
        (("--synonyms", "nowhere.txt"), "cannot be read"),
    ],
)
def test_settings_that_cannot_be_read_are_refused_before_anything_is_sent(
    peer: Peer, tmp_path: Path, args: tuple[str, ...], says: str
) -> None:
    write(tmp_path / "list.json", "[]")
    write(tmp_path / "broken.json", "{")
    write(tmp_path / "cp949.txt", "위립", "cp949")
    result = welip("collections", "set", "ko", *args, code=2)
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert peer.requests == []
