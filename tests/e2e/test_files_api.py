"""`/v1/files`: uploads that stream in, downloads that stream out, and what remains of an interrupted one."""

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from producers.client.sync import Client
from schemas.files import FilePage, FileView
from tests.e2e.conftest import MAX_FILE_BYTES
from tests.e2e.processes import Up, until
from tests.e2e.test_jobs_api import problem

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"


def stored(up: Up) -> tuple[list[Path], list[str]]:
    """The files in object storage, and the ids in the listing."""
    blobs = [path for path in (up.data / "blobs").rglob("*") if path.is_file() and "/files/" in str(path)]
    incoming = list((up.data / "blobs" / "incoming").iterdir())
    with up.client() as client:
        return sorted(blobs) + incoming, [file.id for file in client.files(limit=100).data]


@pytest.fixture
def nothing_stored(up: Up) -> Iterator[None]:
    """Check that the test leaves neither bytes nor a file behind."""
    before = stored(up)
    yield
    until(lambda: stored(up) == before, "nothing was stored")


def test_an_upload_comes_back_as_it_went(client: Client, http: httpx.Client, tmp_path: Path) -> None:
    content = os.urandom(3 * 1024 * 1024 + 7)
    (tmp_path / "이름 with blank.bin").write_bytes(content)
    sent: list[int] = []
    file = client.upload(tmp_path / "이름 with blank.bin", "corpus", progress=sent.append)
    assert sent[-1] == len(content)
    assert (file.filename, file.purpose, file.bytes) == ("이름 with blank.bin", "corpus", len(content))
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert client.download(file.id, tmp_path / "back").read_bytes() == content
    whole = http.get(f"/v1/files/{file.id}/content")
    assert whole.headers["content-length"] == str(len(content))
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert client.file(file.id) == file
    assert file.id in [other.id for other in client.files().data]


def test_an_upload_names_its_place(http: httpx.Client) -> None:
    answer = http.post("/v1/files", files={"file": ("a.txt", b"abc", "text/plain")}, data={"purpose": " "})
    assert answer.status_code == 200
    file = FileView.model_validate(answer.json())
    assert (file.object, file.purpose, file.bytes) == ("file", "documents", 3)
    assert answer.headers["location"] == f"/v1/files/{file.id}"
    back = http.get(f"{answer.headers['location']}/content")
    assert (back.content, back.headers["content-type"].partition(";")[0]) == (b"abc", "text/plain")


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=2-5", 2, 5), ("bytes=7-", 7, 9), ("bytes=-3", 7, 9), ("bytes=4-999", 4, 9)],
)
def test_a_range_is_served(http: httpx.Client, client: Client, wanted: str, first: int, last: int) -> None:
    file = client.upload(b"0123456789")
    answer = http.get(f"/v1/files/{file.id}/content", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, b"0123456789"[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/10"


def test_a_range_beyond_the_end_cannot_be_satisfied(http: httpx.Client, client: Client) -> None:
    file = client.upload(b"0123456789")
    answer = http.get(f"/v1/files/{file.id}/content", headers={"Range": "bytes=10-"})
    assert problem(answer) == (416, "range_unsatisfiable", "Range")
    assert answer.headers["content-range"] == "bytes */10"


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "bytes=-"])
def test_what_is_no_single_byte_range_gives_everything(http: httpx.Client, client: Client, wanted: str) -> None:
    file = client.upload(b"0123456789")
    answer = http.get(f"/v1/files/{file.id}/content", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, b"0123456789")


def test_a_deleted_file_is_gone_with_its_bytes(http: httpx.Client, client: Client, up: Up) -> None:
    file = client.upload(b"0123456789")
    blob = next((up.data / "blobs").rglob(file.id.removeprefix("file_")))
    assert client.delete_file(file.id).deleted
    assert not blob.exists()
    for path in (f"/v1/files/{file.id}", f"/v1/files/{file.id}/content"):
        assert problem(http.get(path)) == (404, "file_not_found", "id")
    assert problem(http.delete(f"/v1/files/{file.id}")) == (404, "file_not_found", "id")


def test_files_are_listed_newest_first(http: httpx.Client, client: Client) -> None:
    made = [client.upload(b"x", filename=f"{n}.txt").id for n in range(3)]
    first = FilePage.model_validate(http.get("/v1/files", params={"limit": 2}).json())
    second = FilePage.model_validate(http.get("/v1/files", params={"limit": 2, "after": first.data[-1].id}).json())
    assert first.has_more
    assert [file.id for file in first.data + second.data][:3] == made[::-1]


@pytest.mark.parametrize(
    ("name", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\Users\\a.txt", "a.txt"), ("한글 파일.txt", "한글 파일.txt")],
)
def test_a_file_name_is_never_a_path(http: httpx.Client, name: str, kept: str) -> None:
    answer = http.post("/v1/files", content=HEAD.replace(b"a.txt", name.encode()) + b"x" + TAIL, headers=FORM)
    assert answer.json()["filename"] == kept


def test_a_media_type_that_is_none_is_not_served_again(http: httpx.Client) -> None:
    head = HEAD.replace(b".txt", b".xyz").replace(b"\r\n\r\n", b"\r\nContent-Type: text/\x01html\xff; x\r\n\r\n")
    file = http.post("/v1/files", content=head + b"x" + TAIL, headers=FORM).json()
    answer = http.get(f"/v1/files/{file['id']}/content")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")


@pytest.mark.usefixtures("nothing_stored")
class TestRefusedUploads:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (HEAD + b"hello", "file"),
            (HEAD[:30], "file"),
            (HEAD + b"hello\r\n--b\r\n", "body"),
            (HEAD + b'hello\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nx' + TAIL[:4], "file"),
            (HEAD + b"hello\r\n" + HEAD + b"hello" + TAIL, "file"),
            (b"--c" + HEAD[3:] + b"hello\r\n--c--\r\n", "body"),
            (HEAD.replace(b'; filename="a.txt"', b"") + b"hello" + TAIL, "file"),
            (HEAD.replace(b"a.txt", b"") + b"hello" + TAIL, "file"),
            (HEAD.replace(b"a.txt", b"a\0.txt") + b"hello" + TAIL, "file"),
            (HEAD.replace(b"a.txt", b"a" * 256) + b"hello" + TAIL, "file"),
            (HEAD.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * 200_000 + b"\r\n\r\n") + b"hello" + TAIL, "body"),
            (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nx' + TAIL, "file"),
            (
                b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"novels" + b"\r\n" + HEAD + TAIL,
                "purpose",
            ),
            (
                b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 9999 + b"\r\n" + HEAD + TAIL,
                "purpose",
            ),
            (
                HEAD
                + b"".join(b'\r\n--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx' % n for n in range(17))
                + TAIL,
                "body",
            ),
            (b"", "file"),
        ],
        ids=[
            "file broken off",
            "header broken off",
            "no closing boundary",
            "field broken off",
            "two files",
            "another boundary",
            "no file name",
            "empty file name",
            "control character",
            "long file name",
            "long header",
            "no file",
            "unknown purpose",
            "very long purpose",
            "many fields",
            "no body",
        ],
    )
    def test_a_form_that_is_wrong_is_refused(self, http: httpx.Client, body: bytes, field: str) -> None:
        answer = http.post("/v1/files", content=body, headers=FORM)
        assert problem(answer) == (422, "invalid_input", field)

    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 300, "multipart/mixed"],
    )
    def test_what_is_no_form_is_refused(self, http: httpx.Client, content_type: str) -> None:
        answer = http.post("/v1/files", content=HEAD + b"x" + TAIL, headers={"Content-Type": content_type})
        assert problem(answer) == (422, "invalid_input", "Content-Type")

    def test_a_file_over_the_limit_is_refused(self, http: httpx.Client) -> None:
        def body() -> Iterator[bytes]:
            yield HEAD
            piece = bytes(1024 * 1024)
            for _ in range(MAX_FILE_BYTES // len(piece) + 1):
                yield piece
            yield TAIL

        assert problem(http.post("/v1/files", content=body(), headers=FORM)) == (413, "too_large", "file")

    @pytest.mark.parametrize("sent", [HEAD[:40], HEAD, HEAD + bytes(3 * 1024 * 1024)], ids=["early", "head", "midway"])
    def test_a_client_that_leaves_in_mid_upload_leaves_nothing(self, up: Up, http: httpx.Client, sent: bytes) -> None:
        address = httpx.URL(up.url)
        form = FORM["Content-Type"]
        head = f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: {form}\r\nContent-Length: 9999999\r\n"
        with socket.create_connection((address.host, address.port or 80)) as connection:
            connection.sendall(head.encode() + b"\r\n" + sent)
            if len(sent) > 1024 * 1024:
                until(lambda: any((up.data / "blobs" / "incoming").iterdir()), "the upload has begun")
        assert http.get("/healthz").status_code == 200  # a logged defect would show when the stack ends
