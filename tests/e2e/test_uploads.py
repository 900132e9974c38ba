"""Uploads in parts, by OpenAI's own client: any order, checked by size and MD5; one given up leaves nothing."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.processes import Up, until


@pytest.fixture(scope="module")
def official(up: Up) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{up.url}/v1", api_key="any", max_retries=2) as client:
        yield client


def begin(official: openai.OpenAI, size: int, **more: Any) -> Any:
    given = {"filename": "시험.jsonl", "purpose": "batch", "mime_type": "application/jsonl", **more}
    return official.uploads.create(bytes=size, **given)


def blobs(up: Up, upload_id: str) -> list[Path]:
    folder = up.data / "blobs" / "objects" / "default" / "uploads" / upload_id.removeprefix("upload_")
    return list(folder.rglob("*"))


def test_parts_may_come_in_any_order_and_make_one_file(up: Up, official: openai.OpenAI) -> None:
    content = os.urandom(300_000)
    pieces = [content[:100_000], content[100_000:250_000], content[250_000:]]
    upload = begin(official, len(content), expires_after={"anchor": "created_at", "seconds": 3600})
    assert (upload.object, upload.status, upload.bytes, upload.file) == ("upload", "pending", 300_000, None)
    assert upload.expires_at == upload.created_at + 3600
    late = official.uploads.parts.create(upload.id, data=pieces[2])
    first = official.uploads.parts.create(upload.id, data=pieces[0])
    middle = official.uploads.parts.create(upload.id, data=pieces[1])
    assert (first.object, first.upload_id) == ("upload.part", upload.id)
    ids = [first.id, middle.id, late.id]
    done = official.uploads.complete(upload.id, part_ids=ids, md5=hashlib.md5(content).hexdigest())
    assert done.status == "completed"
    file = done.file
    assert file is not None
    assert (file.filename, file.purpose, file.bytes) == ("시험.jsonl", "batch", 300_000)
    assert file.expires_at == file.created_at + 3600
    assert official.files.content(file.id).read() == content
    assert official.files.retrieve(file.id).id == file.id
    assert official.uploads.complete(upload.id, part_ids=ids).file == file, "a repeated completion gives the same file"
    until(lambda: not blobs(up, upload.id), "the parts are removed")


def test_the_client_cuts_a_file_by_itself(official: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(2_500_000))
    done = official.uploads.upload_file_chunked(
        file=path, mime_type="application/octet-stream", purpose="user_data", part_size=1_000_000
    )
    assert done.file is not None
    assert official.files.content(done.file.id).read() == path.read_bytes()


def refused(call: Any, *arguments: Any, **more: Any) -> tuple[str | None, str | None]:
    with pytest.raises(openai.APIStatusError) as caught:
        call(*arguments, **more)
    return caught.value.code, caught.value.param


def test_what_does_not_fit_is_refused_and_can_be_corrected(official: openai.OpenAI) -> None:
    upload, other = begin(official, 10), begin(official, 10)
    part = official.uploads.parts.create(upload.id, data=b"12345")
    complete = official.uploads.complete
    assert refused(complete, upload.id, part_ids=[part.id]) == ("upload_incomplete", "part_ids")
    assert refused(complete, upload.id, part_ids=[part.id, part.id]) == ("invalid_input", "part_ids")
    assert refused(complete, upload.id, part_ids=[f"part_{'0' * 32}"]) == ("part_not_found", "part_ids[0]")
    assert refused(complete, other.id, part_ids=[part.id]) == ("part_not_found", "part_ids[0]")
    assert refused(official.uploads.parts.create, upload.id, data=b"1234567") == ("upload_exceeded", "data")
    rest = official.uploads.parts.create(upload.id, data=b"67890")
    assert refused(complete, upload.id, part_ids=[part.id, rest.id], md5="0" * 32) == ("md5_mismatch", "md5")
    done = complete(upload.id, part_ids=[part.id, rest.id])
    assert done.file is not None
    assert official.files.content(done.file.id).read() == b"1234567890"
    assert refused(official.uploads.parts.create, upload.id, data=b"1") == ("upload_completed", "id")
    assert refused(official.uploads.cancel, upload.id) == ("upload_completed", "id")


def test_an_upload_that_is_given_up_leaves_nothing(up: Up, official: openai.OpenAI) -> None:
    upload = begin(official, 10)
    part = official.uploads.parts.create(upload.id, data=b"1234567890")
    assert official.uploads.cancel(upload.id).status == "cancelled"
    assert refused(official.uploads.complete, upload.id, part_ids=[part.id]) == ("upload_cancelled", "id")
    until(lambda: not blobs(up, upload.id), "the part is removed")


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"filename": "a/b"}, "filename"),
        ({"purpose": "novels"}, "purpose"),
        ({"mime_type": "text"}, "mime_type"),
        ({"bytes": 0}, "bytes"),
        ({"bytes": 57 * 1024 * 1024}, "bytes"),
        ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after.seconds"),
    ],
)
def test_a_refusal_says_of_what(official: openai.OpenAI, asked: dict[str, Any], param: str) -> None:
    size = asked.pop("bytes", 5)
    assert refused(begin, official, size, **asked)[1] == param


def test_an_upload_that_is_not_there_is_404(official: openai.OpenAI) -> None:
    missing = f"upload_{'0' * 32}"
    for call, more in (
        (official.uploads.parts.create, {"data": b"1"}),
        (official.uploads.complete, {"part_ids": [f"part_{'0' * 32}"]}),
        (official.uploads.cancel, {}),
    ):
        assert refused(call, missing, **more) == ("upload_not_found", "id")
