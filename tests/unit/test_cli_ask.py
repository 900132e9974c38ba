"""`welip ask` and `welip search`: answers with their sources, whole or while they are written, filters, and hits."""

import json
from collections.abc import Iterator

import httpx
import pytest

from producers.client.cli.failures import WrongUse
from producers.client.cli.filters import parse_filter
from tests.unit.scripted_server import BEGINS, HIT, NOW, SUCCEEDED, Peer, job_id, peer, token, told, welip

__all__ = ["peer"]


def test_ask_prints_the_answer_and_its_sources(peer: Peer) -> None:
    result = welip("ask", "수도는?", "--collection", "ko", "--top-k", "3", "--filter", "lang=ko")
    assert result.stdout.startswith("서울입니다.\n")
    assert "3.14" in result.stdout
    assert "서울은 대한민국의 수도이다." in result.stdout
    assert "[1]  대한민국의 수도 · 제1장 총칙 > 제3조 · p. 7 · d1 · score 3.14" in result.stdout
    asked = peer.jobs[0]["input"]
    assert asked == {"collection": "ko", "question": "수도는?", "top_k": 3, "filter": {"lang": "ko"}}
    welip("ask", "수도는?", "--no-rerank")
    assert peer.jobs[-1]["input"]["rerank"] is False
    document = json.loads(welip("ask", "수도는?", "--json").stdout)
    assert document["citations"][0]["document_id"] == "d1"
    assert document["job"] == job_id(2)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, None),
        (["lang=ko"], {"lang": "ko"}),
        (["a=x=y"], {"a": "x=y"}),
        (["topic=law", "topic=tax"], {"topic": ["law", "tax"]}),
        (["year>=2020"], {"year": {"gte": 2020}}),
        (["signed<2020-01-31"], {"signed": {"lt": "2020-01-31"}}),
        (["year > 2020", "year<2024.5"], {"and": [{"year": {"gt": 2020}}, {"year": {"lt": 2024.5}}]}),
        # A column of a CSV table holds texts, while JSON has types, so what looks like a number may be either.
        (["year=2020"], {"year": [2020, "2020"]}),
        (["done!=true"], {"done": {"nin": [True, "true"]}}),
        (['year="2020"'], {"year": "2020"}),
        (["a=NaN"], {"a": "NaN"}),
        (
            ['{"or": [{"a": 1}, {"b": 2}]}', "lang!=ko"],
            {"and": [{"or": [{"a": 1}, {"b": 2}]}, {"lang": {"nin": ["ko"]}}]},
        ),
    ],
)
def test_filters_are_conditions_or_json(given: list[str] | None, meant: object) -> None:
    assert parse_filter(given) == meant


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("a", "not a condition"),
        ("=a", "not a condition"),
        ("a>b", "not a number or date"),
        ("a>true", "not a number or date"),
        ("{", "not JSON"),
    ],
)
def test_what_is_no_filter_is_refused(given: str, says: str) -> None:
    with pytest.raises(WrongUse, match=says):
        parse_filter([given])


def test_search_lists_hits(peer: Peer) -> None:
    peer.answers["POST", "/v1/collections/default/search"] = httpx.Response(200, json={"data": [HIT]})
    assert "대한민국의 수도" in welip("search", "수도").stdout
    assert json.loads(welip("search", "수도", "--json").stdout)[0]["chunk_id"] == "c1"


@pytest.mark.parametrize(
    ("heading", "shown"),
    [("대한민국의 수도", ""), ("대한민국의 수도 > 서울", " · 서울"), ("서울\n특별시", " · 서울 특별시"), (None, "")],
)
def test_a_title_that_is_the_first_heading_is_printed_once(peer: Peer, heading: str | None, shown: str) -> None:
    hit = HIT | {"heading": heading, "page": None}
    peer.answers["POST", "/v1/collections/default/search"] = httpx.Response(200, json={"data": [hit]})
    assert welip("search", "수도").stdout.splitlines()[0] == f"[1]  대한민국의 수도{shown} · d1 · score 3.14"


def test_an_answer_is_printed_while_it_is_written_with_the_numbers_it_was_written_with(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HIT, "streamed_as", 3)
    peer.answers["GET", f"/v1/jobs/{job_id(0)}/events"] = told(
        BEGINS, token("서울\x1b[2J"), token("입니다 [3]"), SUCCEEDED
    )
    printed = welip("ask", "수도는?", "--stream").stdout
    assert printed.startswith("서울\\x1b[2J입니다 [3]\n\nSources · extractive\n[3]")
    assert json.loads(peer.requests[0].content)["input"]["generate"] == {"stream": True}
    assert "give one of them" in welip("ask", "수도는?", "--stream", "--json", code=2).stderr


def test_an_answer_that_begins_again_is_reported(peer: Peer) -> None:
    peer.answers["GET", f"/v1/jobs/{job_id(0)}/events"] = told(
        BEGINS, token("부산"), BEGINS, token("서울"), token("입니다"), SUCCEEDED
    )
    result = welip("ask", "수도는?", "--stream")
    assert result.stdout.startswith("부산\n서울입니다\n\nSources")
    assert "the answer begins again" in result.stderr


def test_ctrl_c_cancels_the_job_whose_answer_is_being_printed(peer: Peer) -> None:
    peer.answers["GET", f"/v1/jobs/{job_id(0)}/events"] = KeyboardInterrupt()
    cancelled = {"id": job_id(0), "kind": "inference", "state": "running", "created_at": NOW}
    peer.answers["POST", f"/v1/jobs/{job_id(0)}/cancel"] = httpx.Response(202, json=cancelled)
    result = welip("ask", "수도는?", "--stream", code=130)
    assert f"job {job_id(0)} is being cancelled" in result.stderr
    assert "continues" not in result.stderr
    peer.answers["GET", f"/v1/jobs/{job_id(1)}/events"] = KeyboardInterrupt()
    peer.answers["POST", f"/v1/jobs/{job_id(1)}/cancel"] = httpx.ConnectError("nobody answers")
    assert f"job {job_id(1)} continues" in welip("ask", "수도는?", "--stream", code=130).stderr


def test_what_is_said_of_an_answer_that_was_left_begins_on_a_line_of_its_own(peer: Peer) -> None:
    def left() -> Iterator[bytes]:
        yield told(BEGINS, token("서울")).content
        raise KeyboardInterrupt

    headers = {"content-type": "text/event-stream"}
    peer.answers["GET", f"/v1/jobs/{job_id(0)}/events"] = httpx.Response(200, content=left(), headers=headers)
    cancelled = {"id": job_id(0), "kind": "inference", "state": "running", "created_at": NOW}
    peer.answers["POST", f"/v1/jobs/{job_id(0)}/cancel"] = httpx.Response(202, json=cancelled)
    assert welip("ask", "수도는?", "--stream", code=130).stdout == "서울\n"


def test_a_streamed_answer_whose_job_fails_is_a_failure(peer: Peer) -> None:
    peer.fault = {"code": "engine_error", "message": "out of memory"}
    failed = ("state", {"state": "failed"})
    peer.answers["GET", f"/v1/jobs/{job_id(0)}/events"] = told(BEGINS, token("서울"), failed)
    result = welip("ask", "수도는?", "--stream", code=1)
    assert result.stdout == "서울\n"
    assert "out of memory [engine_error]" in result.stderr
