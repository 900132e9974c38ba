"""The clients send files and documents, fetch files, register adapters and change collections."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from producers.client.errors import (
    ApiError,
    StreamBroken,
)
from tests.unit.scripted_transport import (
    FILE,
    ID,
    Caller,
    Chunks,
    Script,
    call,
    job,
    no_backoff,
    ok,
    problem,
    script,
    stored_file,
)

__all__ = ["call", "no_backoff", "script"]


async def test_upload_streams_a_file_and_reports_progress(call: Caller, script: Script, tmp_path: Path) -> None:
    content = "가나다".encode() * 50_000
    (tmp_path / "말뭉치.txt").write_bytes(content)
    sent: list[int] = []
    script.answers = [problem(503, "busy"), ok(stored_file("말뭉치.txt", len(content)))]
    uploaded = await call("upload", tmp_path / "말뭉치.txt", "corpus", progress=sent.append)

    assert uploaded.bytes == len(content)
    again = script.sent[1]
    assert content in again.content
    assert b'name="purpose"\r\n\r\ncorpus' in again.content
    assert "말뭉치.txt".encode() in again.content
    assert again.headers["content-length"] == str(len(again.content))
    assert sent[-1] == len(content)
    assert len(set(sent)) > 2


async def test_documents_are_split_by_number_and_size(call: Caller, script: Script) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=stored_file() if request.url.path == "/v1/files" else job())

    script.answers = [answer]
    small = [{"id": f"d{n}", "text": "짧다"} for n in range(1_001)]
    half = [{"id": "h1", "text": "가" * 200_000}, {"id": "h2", "text": "나" * 200_000}]
    huge = {"id": "긴/글", "text": "다" * 400_000, "format": "markdown"}
    jobs = await call("index_documents", "ko", iter([*small, *half, huge]), idempotency_key="k", lane="bulk")

    submitted = [r for r in script.sent if r.url.path == "/v1/jobs"]
    bodies = [json.loads(r.content)["input"]["documents"] for r in submitted]
    assert len(jobs) == 3
    assert [[d["id"] for d in body][-1] for body in bodies] == ["d999", "h1", "긴/글"]
    assert sum(len(body) for body in bodies) == 1_004
    assert all(len(r.content) < 1_000_000 for r in submitted)
    assert [r.headers["idempotency-key"] for r in submitted] == ["k-0", "k-1", "k-2"]
    assert bodies[-1][-1] == {"id": "긴/글", "format": "markdown", "file": FILE}


K1 = {"sparse": {"k1": 1}}


ADAPTER = {"id": "m:a", "parent": "m", "created": 1_800_000_000, "version": 2}


async def test_an_adapter_is_uploaded_and_registered_and_its_file_removed(call: Caller, script: Script) -> None:
    script.answers = [ok(stored_file("a.zip")), ok(ADAPTER, 201), ok({"id": FILE, "deleted": True})]
    added = await call("adapters.add", b"PK", "m", "a", filename="a.zip")
    assert (added.id, added.version, added.created) == ("m:a", 2, datetime.fromtimestamp(1_800_000_000, UTC))
    assert [(one.method, one.url.path) for one in script.sent] == [
        ("POST", "/v1/files"),
        ("POST", "/v1/models"),
        ("DELETE", f"/v1/files/{FILE}"),
    ]
    assert script.body(1) == {"base": "m", "name": "a", "file": FILE}


async def test_the_file_of_an_adapter_that_is_refused_is_removed_too(call: Caller, script: Script) -> None:
    script.answers = [ok(stored_file("a.zip")), problem(422, "adapter_refused"), problem(503, "away")]
    with pytest.raises(ApiError, match="adapter_refused"):
        await call("adapters.add", b"PK", "m", "a")
    assert {(one.method, one.url.path) for one in script.sent[2:]} == {("DELETE", f"/v1/files/{FILE}")}


async def test_adapters_are_the_models_that_have_a_parent(call: Caller, script: Script) -> None:
    script.answers = [ok({"data": [{"id": "m", "parent": None, "created": 0}, ADAPTER]})]
    assert [one.id for one in await call("adapters.list")] == ["m:a"]
    script.answers = [ok({"id": "m:a@2", "deleted": True})]
    assert (await call("adapters.remove", "m:a@2")).deleted
    assert script.sent[-1].url.raw_path == b"/v1/models/m%3Aa%402"


async def test_a_corpus_is_uploaded_and_submitted(call: Caller, script: Script) -> None:
    script.answers = [ok(stored_file("c.tsv")), ok(job(), 202)]
    columns = {"format": "tsv", "text": "본문"}
    await call(
        "index_corpus", "ko", b"\xeb\xb3\xb8", columns, filename="c.tsv", chunking={"max_chars": 300}, settings=K1
    )
    assert script.body()["input"] == {
        "collection": "ko",
        "corpus": {"file": FILE, **columns},
        "chunking": {"max_chars": 300},
        "settings": K1,
    }


async def test_a_download_appears_whole_or_not_at_all(call: Caller, script: Script, tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    script.answers = [lambda _: httpx.Response(200, stream=Chunks(b"abc", httpx.ReadError("cut")))]
    with pytest.raises(StreamBroken):
        await call("download", FILE, target)
    assert os.listdir(tmp_path) == []
    script.answers = [lambda _: httpx.Response(200, stream=Chunks(b"abc", b"def"))]
    assert (await call("download", FILE, target)).read_bytes() == b"abcdef"


COLLECTION = {
    "name": "ko",
    "documents": 3,
    "encoder": {"sparse": "kiwi", "dense": "bge-m3", "dimension": 1024, "learned": True},
    "settings": {"sparse": {"k1": 0.6}},
    "generation": 2,
    "rebuild": {"job": ID, "settings": {"sparse": {"k1": 0.9}}},
    "fields": ["year"],
}


async def test_a_collection_tells_its_settings_and_what_it_is_becoming(call: Caller, script: Script) -> None:
    script.answers = [ok(COLLECTION)]
    found = await call("collection", "ko")
    assert (found.encoder.dense, found.encoder.dimension, found.generation) == ("bge-m3", 1024, 2)
    assert (found.rebuild.job, found.rebuild.settings) == (ID, {"sparse": {"k1": 0.9}})
    script.answers = [ok(COLLECTION | {"rebuild": None})]
    assert (await call("collection", "ko")).rebuild is None


async def test_settings_are_changed_by_a_job_and_a_rebuild_is_not_asked_for_twice(call: Caller, script: Script) -> None:
    script.answers = [problem(504, "late"), ok(job(kind="indexing"), 202)]
    assert (await call("change_collection", "ko", {"sparse": {"k1": 0.9}})).id == ID
    assert (script.sent[-1].method, script.sent[-1].url.path) == ("PATCH", "/v1/collections/ko")
    assert script.body() == {"settings": {"sparse": {"k1": 0.9}}}
    assert len(script.sent) == 2
    script.answers = [problem(504, "late")]
    with pytest.raises(ApiError):
        await call("change_collection", "ko", rebuild=True)
    assert script.body() == {"rebuild": True}
    assert len(script.sent) == 3
