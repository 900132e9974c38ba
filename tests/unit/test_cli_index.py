"""`welip index`: files and tables become documents, and what cannot be indexed is refused."""

import json
from pathlib import Path

import pytest

from producers.client.cli.columns import choose_columns, read_columns
from producers.client.cli.sources import discover, document_id
from tests.unit.scripted_server import Peer, job_id, peer, welip, write

__all__ = ["peer"]


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
