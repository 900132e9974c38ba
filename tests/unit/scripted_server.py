"""A server that the command line asks in tests: it keeps what it was sent, and ends every job at the second look."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
from typer.testing import CliRunner, Result

from producers.client.cli.app import app
from producers.client.sync import Client
from schemas.collections import CollectionSettings


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
