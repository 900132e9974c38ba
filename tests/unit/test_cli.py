"""The command line against a scripted server: what it prints, what it sends, and its exit codes."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import stamina
from typer.testing import CliRunner, Result

from producers.client.cli.app import app
from producers.client.cli.columns import choose_columns, read_columns
from producers.client.cli.failures import WrongUse
from producers.client.cli.filters import parse_filter
from producers.client.cli.server import free_port
from producers.client.cli.session import Session
from producers.client.cli.sources import discover, document_id
from producers.client.sync import Client
from schemas.collections import CollectionSettings

ROOT = Path(__file__).parents[2]


def job_id(number: int) -> str:
    return f"job_{number:032x}"


class Peer:
    """Plays the server: keeps files and jobs, and ends every job at the second look with its kind's result."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.jobs: list[dict[str, Any]] = []
        self.uploads: list[bytes] = []
        self.fault: dict[str, Any] | None = None
        self.answers: dict[tuple[str, str], httpx.Response | BaseException] = {}
        self.failing = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        request.read()
        path = request.url.path
        if (answer := self.answers.get((request.method, path))) is not None:
            if isinstance(answer, BaseException):
                raise answer
            return answer
        if (request.method, path) == ("POST", "/v1/files"):
            self.uploads.append(request.content)
            if b"too large" in request.content:
                return self.answer({"code": "too_large", "detail": "the file is larger than 10 bytes"}, 413)
            return self.answer({"id": f"file_{len(self.uploads):032x}", "filename": "f", "bytes": 1})
        if request.method == "PATCH":
            self.jobs.append({"id": job_id(len(self.jobs)), "state": "running", "created_at": NOW, "kind": "indexing"})
            self.jobs[-1]["rebuild"] = b"rebuild" in request.content
            return self.answer(self.jobs[-1] | {"input": {}}, 202)
        if (request.method, path) == ("POST", "/v1/jobs"):
            body = json.loads(request.content)
            self.jobs.append({"id": job_id(len(self.jobs)), "state": "running", "created_at": NOW, **body})
            return self.answer(self.jobs[-1], 202)
        if path == "/v1/jobs":
            return self.answer({"data": self.jobs, "has_more": False})
        for job in self.jobs:
            if path == f"/v1/jobs/{job['id']}":
                self.end(job)
                return self.answer(job)
        return self.answer({"title": "Not found", "code": "not_found", "detail": f"there is no {path}"}, 404)

    def answer(self, body: Any, status: int = 200) -> httpx.Response:
        return httpx.Response(status, json=body)

    def end(self, job: dict[str, Any]) -> None:
        if self.fault:
            job |= {"state": "failed", "error": self.fault}
            return
        job["state"] = "succeeded"
        if job["kind"] == "inference":
            job["result"] = {"answer": "서울입니다.", "found": True, "citations": [HIT], "model": "extractive"}
        else:
            refused = [{"id": "빈 글.md", "code": "document_empty", "message": "비었음"}] * self.failing
            counts = {"added": len(job.get("input", {}).get("documents", "x")), "failed": self.failing}
            job["result"] = {"collection": "ko", "documents": counts, "chunks": 4, "errors": refused}
            job["result"]["rebuilt"] = 1_234 if job.get("rebuild") else 0

    def documents(self) -> list[dict[str, Any]]:
        return [document for job in self.jobs for document in job["input"]["documents"]]


NOW = "2026-11-20T00:00:00Z"
HIT = {
    "document_id": "d1",
    "chunk_id": "c1",
    "title": "대한민국의 수도",
    "text": "서울은\n대한민국의 수도이다.",
    "score": 3.14159,
    "start": 0,
    "end": 10,
    "heading": "제1장 총칙 > 제3조",
    "page": 7,
}
COLLECTION = {
    "name": "ko",
    "documents": 1_234,
    "chunks": 5_678,
    "bytes": 9,
    "encoder": {"sparse": "kiwi", "dense": "bge-m3", "dimension": 1024, "learned": False},
    "settings": CollectionSettings().model_dump(mode="json"),
    "generation": 1,
    "rebuild": None,
    "fields": ["year"],
    "created_at": NOW,
}


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Peer]:
    found = Peer()
    monkeypatch.setattr("producers.client.sync.Client", partial(Client, transport=httpx.MockTransport(found)))
    monkeypatch.delenv("WELIP_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    stamina.set_testing(True, attempts=2)
    yield found
    stamina.set_testing(False)
    stamina.instrumentation.set_on_retry_hooks(None)


def welip(*args: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert "Traceback" not in result.stderr
    return result


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def test_the_version_is_told_without_loading_the_client() -> None:
    script = (
        "import sys\nsys.argv = ['welip', '--version']\nfrom producers.client.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'httpx', 'pydantic', 'rich', 'stamina'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("welip ")
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_groups_the_commands() -> None:
    text = welip("--help").stdout
    for word in ("Documents", "Jobs", "Run a server", "index", "ask", "up", "Exit codes"):
        assert word in text


def test_a_folder_becomes_documents_named_by_their_paths(peer: Peer, tmp_path: Path) -> None:
    write(tmp_path / "글/하나.md", "# 제목\n본문")
    write(tmp_path / "글/깊이/둘.txt", "둘째 글", "cp949")
    write(tmp_path / "글/그림.png", "no text")
    write(tmp_path / "글/.숨김.txt", "hidden")
    peer.failing = 1
    result = welip("index", tmp_path / "글", "--collection", "ko", "--max-chars", "300", "--json")

    assert peer.documents() == [
        {"id": "하나.md", "format": "markdown", "text": "# 제목\n본문"},
        {"id": "깊이/둘.txt", "file": f"file_{1:032x}"},
    ]
    assert "둘째 글".encode("cp949") in peer.uploads[0]
    assert peer.jobs[0]["lane"] == "bulk"
    assert peer.jobs[0]["input"]["chunking"] == {"max_chars": 300}
    summary = json.loads(result.stdout)
    assert summary["documents"] == {"added": 2, "replaced": 0, "unchanged": 0, "failed": 1, "superseded": 0}
    assert summary["errors"][0]["code"] == "document_empty"
    assert summary["jobs"] == [{"id": job_id(0), "state": "succeeded"}]


def test_the_summary_is_a_table_that_keeps_korean_text_in_its_columns(peer: Peer, tmp_path: Path) -> None:
    from rich.cells import cell_len

    peer.failing = 1
    result = welip("index", write(tmp_path / "가.md", "글"), write(tmp_path / "a.png", ""), "--format", "text")
    lines = result.stdout.splitlines()
    assert any(line.split() == ["default", "2", "0", "0", "1", "4"] for line in lines)
    header = next(line for line in lines if "document" in line and "code" in line)
    row = next(line for line in lines if "document_empty" in line)
    assert cell_len(row[: row.index("document_empty")]) == cell_len(header[: header.index("code")])


def test_a_table_is_uploaded_as_one_corpus_with_its_text_column_guessed(peer: Peer, tmp_path: Path) -> None:
    table = write(tmp_path / "qa.tsv", "\ufeffid\t제목\t본문\n1\t수도\t서울\n")
    welip("index", table, "--title-column", "제목", "--metadata-column", "id", "--no-wait")
    assert peer.jobs[0]["input"] == {
        "collection": "default",
        "corpus": {
            "file": f"file_{1:032x}",
            "format": "tsv",
            "text": "본문",
            "title": "제목",
            "metadata": ["id"],
        },
    }
    assert not [request for request in peer.requests if request.method == "GET"]


@pytest.mark.parametrize(
    ("name", "text", "args", "says"),
    [
        ("a.csv", "id,질문,답\n", (), "id, 질문, 답 -- say --text-column"),
        ("a.csv", "text,content\n", (), "text, content -- say --text-column"),
        ("a.csv", "text\n", ("--id-column", "번호"), "no column '번호'"),
        ("a.jsonl", '{"a": 1}\n', (), "It has: a"),
        ("a.jsonl", "nonsense\n", (), "is not jsonl"),
        ("a.doc", "", (), "--format"),
        ("a.md", "x", ("--settings", "none.json"), "none.json cannot be read"),
        ("a.txt", "x", ("--format", "word"), "'word' is not known"),
        ("empty/a.png", "x", (), "no document found"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_sent(
    peer: Peer, tmp_path: Path, name: str, text: str, args: tuple[str, ...], says: str
) -> None:
    path = write(tmp_path / name, text)
    result = welip("index", path.parent if "/" in name else path, *args, code=2)
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert peer.requests == []


def test_a_folder_of_every_format_is_sent_each_in_its_way(peer: Peer, tmp_path: Path) -> None:
    folder = tmp_path / "문서"
    for name in ("계약.pdf", "공문.hwp", "공문.hwpx", "보고.DOCX"):
        write(folder / name, "%binary")
    write(folder / "표/하나.csv", "본문\n글\n")
    write(folder / "표/둘.tsv", "본문\n글\n")
    write(folder / "표/셋.csv", "질문,답\n")
    write(folder / "그림.png", "")
    write(folder / "자료", "")
    result = welip("index", folder, "--json")
    assert [(d["id"], "format" in d, "file" in d) for d in peer.jobs[-1]["input"]["documents"]] == [
        (name, False, True) for name in ("계약.pdf", "공문.hwp", "공문.hwpx", "보고.DOCX")
    ]
    corpora = [job["input"]["corpus"] for job in peer.jobs[:-1]]
    assert {corpus["id_prefix"]: corpus["format"] for corpus in corpora} == {"표/하나.csv#": "csv", "표/둘.tsv#": "tsv"}
    [refused] = json.loads(result.stdout)["errors"]
    assert (refused["id"], refused["code"]) == ("표/셋.csv", "columns_unknown")
    assert "질문, 답" in refused["message"]
    assert "--text-column" in refused["message"]
    said = welip("index", folder).stderr
    assert "left out of the folders" in said
    assert "1 .png" in said
    assert "1 without an ending" in said


def test_settings_of_a_file_are_sent_with_the_documents(peer: Peer, tmp_path: Path) -> None:
    file = write(tmp_path / "settings.json", '{"sparse": {"k1": 0.9}}')
    welip("index", write(tmp_path / "a.md", "글"), "--settings", file, "--no-wait")
    assert peer.jobs[0]["input"]["settings"] == {"sparse": {"k1": 0.9}}
    assert "chunking" not in peer.jobs[0]["input"]


def test_one_table_that_is_named_keeps_its_row_numbers(peer: Peer, tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.csv", "text,n\n글,1\n"), write(tmp_path / "b.csv", "text,n\n글,1\n")
    welip("index", one, "--no-wait")
    welip("index", one, two, "--no-wait")
    welip("index", one, two, "--id-column", "n", "--no-wait")
    prefixes = [job["input"]["corpus"].get("id_prefix") for job in peer.jobs]
    assert prefixes == [None, "a.csv#", "b.csv#", None, None]


def test_a_file_that_the_server_refuses_is_refused_by_itself(peer: Peer, tmp_path: Path) -> None:
    write(tmp_path / "d/하나.pdf", "too large")
    write(tmp_path / "d/둘.pdf", "fine")
    summary = json.loads(welip("index", tmp_path / "d", "--json").stdout)
    assert [document["id"] for document in peer.documents()] == ["둘.pdf"]
    assert summary["documents"]["failed"] == 1
    assert (summary["errors"][0]["id"], summary["errors"][0]["code"]) == ("하나.pdf", "too_large")


def test_a_named_format_is_sent_with_the_file(peer: Peer, tmp_path: Path) -> None:
    welip("index", write(tmp_path / "내려받음", "%PDF"), "--format", "pdf", "--no-wait")
    assert peer.documents() == [{"id": "내려받음", "format": "pdf", "file": f"file_{1:032x}"}]


def test_a_missing_path_and_colliding_ids_are_refused(peer: Peer, tmp_path: Path) -> None:
    assert "no file or folder" in welip("index", "nowhere", code=2).stderr
    one, two = write(tmp_path / "a/x.md", "1"), write(tmp_path / "b/x.md", "2")
    assert "would both become" in welip("index", one.parent, two.parent, code=2).stderr
    assert {found.id for found in discover([tmp_path], None).documents} == {"a/x.md", "b/x.md"}


def test_an_id_too_long_refuses_its_document_only(peer: Peer, tmp_path: Path) -> None:
    long = write(tmp_path / "d" / ("긴" * 60) / ("긴" * 60) / ("긴" * 60) / ("긴" * 30 + ".md"), "글")
    write(tmp_path / "d" / "짧은.md", "글")
    summary = json.loads(welip("index", tmp_path / "d", "--json").stdout)
    assert [document["id"] for document in peer.documents()] == ["짧은.md"]
    assert summary["documents"]["failed"] == 1
    assert summary["errors"][0]["id"].endswith(long.name)


def test_ids_are_spelled_alike_on_every_system(tmp_path: Path) -> None:
    assert document_id("\u1112\u1161\u11ab.txt") == "한.txt"


def test_columns_are_read_from_utf8_cp949_and_json_lines(tmp_path: Path) -> None:
    assert read_columns(write(tmp_path / "a.csv", '"제목, 부제",본문\n', "cp949"), "csv") == ["제목, 부제", "본문"]
    assert read_columns(write(tmp_path / "a.jsonl", '\n{"id": 1, "text": "x"}\n'), "jsonl") == ["id", "text"]
    assert read_columns(write(tmp_path / "c.tsv", '"본문"\t id\r\n', "utf-16"), "tsv") == ['"본문"', " id"]
    path = write(tmp_path / "b.csv", "\nText,id\n")
    assert choose_columns(path, "csv", text=None, title=None, id="id", metadata=()) == {
        "format": "csv",
        "text": "Text",
        "id": "id",
    }


def test_a_failed_job_ends_with_1_and_its_reason(peer: Peer, tmp_path: Path) -> None:
    peer.fault = {"code": "dependency_unavailable", "message": "the index does not answer", "retryable": True}
    result = welip("index", write(tmp_path / "a.md", "글"), code=1)
    assert "the index does not answer [dependency_unavailable] -- submitting it again" in result.stderr
    assert "the index does not answer" in welip("ask", "수도는?", code=1).stderr


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


def test_jobs_are_listed_with_whole_ids_in_a_pipe(peer: Peer) -> None:
    assert "no such jobs" in welip("jobs").stderr
    welip("ask", "질문")
    line = next(line for line in welip("jobs", "--state", "succeeded").stdout.splitlines() if job_id(0) in line)
    assert line.split()[:3] == [job_id(0), "inference", "succeeded"]
    assert dict(peer.requests[-1].url.params) == {"state": "succeeded", "limit": "20"}
    assert "서울입니다." in welip("job", job_id(0)).stdout


def events(*states: str) -> httpx.Response:
    return told(*(("state", {"state": state}) for state in states))


def told(*happened: tuple[str, dict[str, Any]]) -> httpx.Response:
    lines = []
    for number, (type, data) in enumerate(happened, 1):
        body = {"id": number, "job": job_id(0), "type": type, "at": NOW, "data": data}
        lines.append(f"id: {number}\nevent: {type}\ndata: {json.dumps(body)}\n\n")
    return httpx.Response(200, content="".join(lines).encode(), headers={"content-type": "text/event-stream"})


BEGINS = ("stream", {"stage": "generate", "attempt": 1})
SUCCEEDED = ("state", {"state": "succeeded"})


def token(text: str) -> tuple[str, dict[str, Any]]:
    return "token", {"text": text, "index": 0}


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


def test_following_prints_events_and_tells_how_the_job_ended(peer: Peer) -> None:
    welip("ask", "질문")
    peer.answers["GET", f"/v1/jobs/{job_id(0)}/events"] = events("running", "succeeded")
    printed = welip("job", job_id(0), "--follow", "--json").stdout
    assert [json.loads(line)["data"]["state"] for line in printed.splitlines()] == ["running", "succeeded"]

    peer.fault = {"code": "timeout", "message": "too slow"}
    peer.answers["GET", f"/v1/jobs/{job_id(0)}/events"] = events("running", "failed")
    result = welip("job", job_id(0), "--follow", code=1)
    assert len(result.stdout.splitlines()) == 2
    assert "too slow [timeout]" in result.stderr


def test_refusals_and_silence_have_exit_codes_of_their_own(peer: Peer) -> None:
    assert "there is no /v1/jobs/job_x" in welip("job", "job_x", code=2).stderr
    conflict = {"code": "conflict", "detail": "it has ended", "remedy": "submit another"}
    peer.answers["POST", "/v1/jobs/job_x/cancel"] = httpx.Response(409, json=conflict)
    assert "it has ended -- submit another" in welip("cancel", "job_x", code=2).stderr
    peer.answers["GET", "/v1/collections"] = httpx.Response(500, text="oops")
    welip("collections", code=3)
    peer.answers["GET", "/v1/collections"] = httpx.ConnectError("connection refused")
    result = welip("collections", code=3)
    assert "welip up" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    welip("search", code=2)


def test_ctrl_c_says_that_the_job_goes_on(peer: Peer) -> None:
    peer.jobs.append({"id": job_id(0), "kind": "noop", "state": "running", "created_at": NOW, "input": {}})
    peer.answers["GET", f"/v1/jobs/{job_id(1)}"] = KeyboardInterrupt()
    result = welip("ask", "질문", code=130)
    assert f"welip job {job_id(1)} --follow" in result.stderr
    assert result.stdout == ""


def test_a_defect_is_one_sentence(peer: Peer) -> None:
    peer.answers["GET", "/v1/collections"] = ZeroDivisionError("boom")
    assert "unexpected ZeroDivisionError: boom" in welip("collections", code=3).stderr


def test_the_server_is_found_by_option_environment_or_the_running_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WELIP_URL", raising=False)
    assert Session().resolve_url() is None
    write(tmp_path / ".welip/gateway.url", "http://127.0.0.1:4321\n")
    assert Session().resolve_url() == "http://127.0.0.1:4321"
    assert Session(url="http://x").resolve_url() == "http://x"
    monkeypatch.setenv("WELIP_URL", "http://y")
    with Session().connect() as client:
        assert client.url == "http://y"


def test_keys_are_made_listed_and_revoked_through_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    row = {"id": UUID(int=1), "tenant": "kim", "name": "노트북", "created_at": datetime(2026, 11, 20, tzinfo=UTC)}

    def create_key(dsn: str, tenant: str, name: str, *, operator: bool) -> str:
        asked.append((dsn, tenant, name, operator))
        return "welip_new"

    def revoke_key(dsn: str, id: str) -> bool:
        return UUID(id) == row["id"]

    monkeypatch.setattr("infra.postgres.keys.create_key", create_key)
    monkeypatch.setattr("infra.postgres.keys.list_keys", lambda dsn: [row])
    monkeypatch.setattr("infra.postgres.keys.revoke_key", revoke_key)
    monkeypatch.setenv("WELIP_POSTGRES_URL", "postgresql://db/welip")

    assert welip("key", "create", "--tenant", "kim", "--name", "노트북").stdout == "welip_new\n"
    welip("key", "create", "--tenant", "ops", "--operator")
    assert asked == [("postgresql://db/welip", "kim", "노트북", False), ("postgresql://db/welip", "ops", "", True)]
    assert "노트북" in welip("key", "list").stdout
    assert json.loads(welip("key", "list", "--json").stdout)[0]["id"] == str(UUID(int=1))
    welip("key", "revoke", str(UUID(int=1)))
    assert "no live key" in welip("key", "revoke", str(UUID(int=2)), code=2).stderr
    assert "no live key" in welip("key", "revoke", "nonsense", code=2).stderr


def test_what_mlflow_refused_is_listed_retried_and_dropped_through_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, other = f"job_{UUID(int=1).hex}", f"job_{UUID(int=2).hex}"
    row: dict[str, object] = {"job": job, "tenant": "kim", "experiment": "ko", "run": "한 변형", "what": "file/a.html"}
    row |= {"error": "no such file", "said_at": datetime(2026, 11, 20, tzinfo=UTC)}
    asked: list[tuple[str, object]] = []

    def settle(dsn: str, jobs: list[UUID] | None) -> list[str]:
        asked.append((dsn, jobs))
        return [job]

    monkeypatch.setattr("infra.postgres.refusals.list_refused", lambda dsn, limit: [row])
    monkeypatch.setattr("infra.postgres.refusals.retry_refused", settle)
    monkeypatch.setattr("infra.postgres.refusals.drop_refused", settle)
    monkeypatch.setenv("WELIP_POSTGRES_URL", "postgresql://db/welip")

    shown = welip("tracking", "list").stdout
    assert job in shown
    assert "한 변형" in shown
    assert json.loads(welip("tracking", "list", "--json").stdout)[0]["what"] == "file/a.html"
    retried = welip("tracking", "retry", job, other)
    assert retried.stdout == f"{job}\n"
    assert f"nothing of {other} was refused" in retried.stderr
    assert json.loads(welip("tracking", "drop", "--all", "--json").stdout) == {"jobs": [job]}
    assert asked == [("postgresql://db/welip", [UUID(int=1), UUID(int=2)]), ("postgresql://db/welip", None)]
    assert "or give --all" in welip("tracking", "drop", code=2).stderr
    assert "or give --all" in welip("tracking", "retry", job, "--all", code=2).stderr
    assert "there is no job" in welip("tracking", "retry", "nonsense", code=2).stderr


def test_a_database_that_does_not_answer_is_exit_3() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"postgresql://postgres@127.0.0.1:{bound.getsockname()[1]}/welip"
        assert len(welip("key", "list", "--postgres", url, code=3).stderr.splitlines()) == 1


def test_the_stack_gets_a_free_port_when_the_usual_one_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", preferred=port) not in {0, port}
    assert free_port("127.0.0.1", preferred=port) == port


def test_server_commands_become_the_process_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Replaced(BaseException):
        pass

    became: list[list[str]] = []

    def execv(program: str, args: list[str]) -> None:
        became.append(args)
        raise Replaced

    monkeypatch.setattr(os, "execv", execv)
    for args in (
        ("worker", "--pool", "cpu", "--pool", "gpu", "--concurrency", "4"),
        ("gateway", "--port", "1"),
        ("relay",),
    ):
        with pytest.raises(Replaced):
            CliRunner().invoke(app, args, catch_exceptions=False)
    assert [args[1:] for args in became] == [
        ["-m", "consumers", "--pool", "cpu", "--pool", "gpu", "--concurrency", "4"],
        ["-m", "gateway", "--port", "1"],
        ["-m", "producers"],
    ]
