"""What `welip dataset` sends and prints, against a server in memory."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from producers.client.cli import datasets
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import UNBOUND_WIDTH
from producers.client.datasets import DatasetNotFound, DatasetQuality, version_of
from producers.client.models import File
from producers.client.sync import Client

ROWS = b'{"question": "?"}\n'


class Files:
    """`/v1/files` of a server: the newest first, two a page."""

    def __init__(self) -> None:
        self.files: list[dict[str, Any]] = []
        self.uploads = 0

    def add(self, name: str, data: bytes, purpose: str = "evals") -> str:
        id = f"file_{len(self.files):032x}"
        digest = hashlib.sha256(data).hexdigest()
        self.files.insert(
            0, {"id": id, "filename": name, "purpose": purpose, "bytes": len(data), "sha256": digest, "created_at": 1}
        )
        return id

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            body = request.read()
            self.uploads += 1
            name = body.split(b'filename="')[1].split(b'"')[0].decode()
            data = body.split(b"\r\n\r\n")[-1].rsplit(b"\r\n--", 1)[0]
            return httpx.Response(200, json=self._file(self.add(name, data)))
        if request.url.path != "/v1/files":
            return httpx.Response(200, json=self._file(request.url.path.rsplit("/", 1)[1]))
        asked = request.url.params
        listed = [one for one in self.files if one["purpose"] == asked["purpose"]]
        if after := asked.get("after"):
            listed = listed[1 + next(at for at, one in enumerate(listed) if one["id"] == after) :]
        return httpx.Response(200, json={"data": listed[:2], "has_more": len(listed) > 2})

    def _file(self, id: str) -> dict[str, Any]:
        return next(one for one in self.files if one["id"] == id)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def client(files: Files) -> Client:
    return Client("http://server", transport=httpx.MockTransport(files))


def test_a_version_is_named_by_its_content(files: Files, client: Client) -> None:
    old = files.add("q.jsonl", b"old")
    for n in range(3):
        files.add(f"other-{n}.jsonl", b"x")
    new = files.add("q.jsonl", ROWS)
    assert client.dataset("q.jsonl").id == new, "a name alone means the newest version"
    assert client.dataset(f"q.jsonl@{hashlib.sha256(b'old').hexdigest()[:6]}").id == old
    assert client.dataset(old).id == old
    assert version_of(client.file(old)) == f"q.jsonl@{hashlib.sha256(b'old').hexdigest()[:12]}"
    assert [one.id for one in client.datasets("q.jsonl")] == [new, old]
    with pytest.raises(DatasetNotFound, match=f"there are: q.jsonl@{hashlib.sha256(ROWS).hexdigest()[:12]}"):
        client.dataset("q.jsonl@ffffff")


def test_what_is_there_is_not_uploaded_again(files: Files, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(ROWS)
    first = datasets.on_the_server(client, str(path), "evals", quiet=True)
    assert datasets.on_the_server(client, str(path), "evals", quiet=True) == first
    assert files.uploads == 1
    path.write_bytes(ROWS * 2)
    assert datasets.on_the_server(client, str(path), "evals", quiet=True) != first
    assert files.uploads == 2


def test_what_is_neither_here_nor_there_is_wrong_use(client: Client) -> None:
    with pytest.raises(WrongUse, match=r"no file gone\.jsonl here, and on the server there is no dataset"):
        datasets.on_the_server(client, "gone.jsonl", "evals", quiet=True)


def test_the_table_shows_parts_findings_and_lengths(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", str(UNBOUND_WIDTH))
    found = DatasetQuality.model_validate(
        {
            "form": "questions",
            "rows": 200,
            "sha256": "ab" * 32,
            "score": 0.985,
            "parts": {"valid": 1.0, "apart": None},
            "passed": False,
            "counts": {"duplicate": 3},
            "findings": [{"row": 7, "code": "duplicate", "message": "it repeats row 2", "other": 2}],
            "lengths": {
                "question": {
                    **dict.fromkeys(("rows", "min", "p05", "p25", "p50", "p75", "p95", "max"), 12),
                    "mean": 12.0,
                }
            },
            "languages": {"ko": 200},
            "retrieval": {"asked": 200, "found": 190, "failed": 0},
            "findings_file": "file_x",
            "job": "job_x",
        }
    )
    datasets._print(found, None)
    told = capsys.readouterr()
    assert "98.5%, NOT PASSED" in told.out
    assert "row 7: it repeats row 2" in told.out
    assert "answer found: 190 of 200 questions" in told.err
    assert "all findings: file_x" in told.err


def test_a_file_of_the_server_is_evaluated_by_its_id() -> None:
    sent: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.read()))
        job = {"id": "job_1", "kind": "evaluation", "state": "queued", "created_at": "2026-12-01T00:00:00Z"}
        return httpx.Response(202, json=job)

    file = File(id="file_" + "0" * 32, filename="q.jsonl", bytes=3)
    Client("http://server", transport=httpx.MockTransport(answer)).evaluate(file, "ko", columns={"question": "질문"})
    assert sent[0]["input"] == {"dataset": {"file": file.id, "question": "질문"}, "collection": "ko"}
