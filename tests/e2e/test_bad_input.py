"""Every bad request is answered with a problem that names the field, and nothing is stored."""

import json
import select
import socket
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from producers.client.sync import Client
from tests.e2e.processes import Up
from tests.e2e.test_jobs_api import problem

JSON: Final = {"Content-Type": "application/json"}
NO_JOB: Final = "job_" + "0" * 32
NO_FILE: Final = "file_" + "0" * 32
Refused = tuple[int, str, str | None]


@pytest.fixture(autouse=True)
def nothing_stored(client: Client) -> Iterator[None]:
    """Check that the test makes no job, file or collection."""

    def everything() -> list[list[str]]:
        return [
            [job.id for job in client.jobs(limit=5).data],
            [file.id for file in client.files(limit=5).data],
            [collection.name for collection in client.collections()],
        ]

    before = everything()
    yield
    assert everything() == before


def noop(**fields: Any) -> Any:
    return {"kind": "noop", "input": {}, **fields}


def inference(**fields: Any) -> Any:
    return {"kind": "inference", "input": {"collection": "c", "question": "무엇?", **fields}}


def indexing(*documents: Any, **fields: Any) -> Any:
    return {"kind": "indexing", "input": {"collection": "c", "documents": list(documents), **fields}}


def document(**fields: Any) -> Any:
    return {"id": "d", "text": "고래는 포유류이다.", **fields}


INVALID: Final = "invalid_input"
FIELDS: Final[dict[str, tuple[Any, str, str]]] = {
    "unknown kind": ({"kind": "cooking", "input": {}}, "unknown_kind", "kind"),
    "no kind": ({"input": {}}, "unknown_kind", "kind"),
    "kind that is no text": ({"kind": 7, "input": {}}, "unknown_kind", "kind"),
    "no input": ({"kind": "noop"}, INVALID, "input"),
    "input that is no object": ({"kind": "noop", "input": []}, INVALID, "input"),
    "unknown field": (noop(colour="red"), INVALID, "colour"),
    "unknown field of the input": (noop(input={"colour": "red"}), INVALID, "input.colour"),
    "wrong type": (noop(input={"sleep_s": "long"}), INVALID, "input.sleep_s"),
    "beyond a limit": (noop(input={"sleep_s": 3601}), INVALID, "input.sleep_s"),
    "unknown lane": (noop(lane="fast"), INVALID, "lane"),
    "no attempts": (noop(max_attempts=0), INVALID, "max_attempts"),
    "no time": (noop(timeout_s=0), INVALID, "timeout_s"),
    "NUL in metadata": (noop(metadata={"k": "a\0"}), INVALID, "metadata.k"),
    "17 metadata": (noop(metadata={str(n): "" for n in range(17)}), INVALID, "metadata"),
    "empty question": (inference(question=" \n "), INVALID, "input.question"),
    "question of 8,001 characters": (inference(question="가" * 8001), INVALID, "input.question"),
    "no collection": (inference(collection=None), INVALID, "input.collection"),
    "bad collection": (inference(collection="../other"), INVALID, "input.collection"),
    "rerank that is no truth": (inference(rerank="yes"), INVALID, "input.rerank"),
    "top_k of 0": (inference(top_k=0), INVALID, "input.top_k"),
    "top_k of 101": (inference(top_k=101), INVALID, "input.top_k"),
    "top_k of 10,000": (inference(top_k=10_000), INVALID, "input.top_k"),
    "nothing to do": (indexing(), INVALID, "input"),
    "1,001 documents": (indexing(*(document(id=str(n)) for n in range(1001))), INVALID, "input.documents"),
    "unknown format": (indexing(document(format="word")), INVALID, "input.documents[0].format"),
    "weight beyond 1": (
        indexing(document(), settings={"fusion": {"weights": {"sparse": 2}}}),
        INVALID,
        "input.settings.fusion.weights.sparse",
    ),
    "no weight at all": (
        indexing(document(), settings={"fusion": {"weights": {"sparse": 0, "dense": 0}}}),
        INVALID,
        "input.settings.fusion.weights",
    ),
    "unknown setting": (indexing(document(), settings={"colour": "red"}), INVALID, "input.settings.colour"),
    "NUL in an id": (indexing(document(id="a\0")), INVALID, "input.documents[0].id"),
    "empty id": (indexing(document(), document(id=" ")), INVALID, "input.documents[1].id"),
    "text and file": (indexing(document(file=NO_FILE)), INVALID, "input.documents[0]"),
    "neither text nor file": (indexing({"id": "d"}), INVALID, "input.documents[0]"),
    "bad file id": (indexing({"id": "d", "file": "file_1"}), INVALID, "input.documents[0].file"),
    "drop and more": (indexing(document(), drop=True), INVALID, "input"),
    "body that is a list": ([], INVALID, "body"),
    "body that is a text": ("noop", INVALID, "body"),
}


@pytest.mark.parametrize(("body", "code", "field"), FIELDS.values(), ids=FIELDS)
def test_a_wrong_field_is_named(http: httpx.Client, body: Any, code: str, field: str) -> None:
    answer = http.post("/v1/jobs", json=body)
    assert problem(answer) == (422, code, field)
    said = answer.json()
    assert said["remedy"]
    assert said["errors"][0] == {"field": field, "message": said["detail"]}


def test_every_wrong_field_is_listed(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", json=indexing(document(id=""), document(text=5), chunking={"max_chars": 1}))
    found = {error["field"] for error in answer.json()["errors"]}
    assert found >= {"input.documents[0].id", "input.documents[1].text", "input.chunking.max_chars"}


def test_the_message_names_what_is_allowed(http: httpx.Client) -> None:
    assert "'noop'" in http.post("/v1/jobs", json={"kind": "cooking", "input": {}}).json()["detail"]
    assert "`rebuild`" in http.post("/v1/jobs", json=indexing()).json()["detail"]


MALFORMED: Final = {
    "cut off": b'{"kind": "noop", "input"',
    "another syntax": b"kind: noop",
    "two documents": b'{"kind": "noop", "input": {}} {}',
    "broken UTF-8": b'{"kind": "noop", "input": {}, "metadata": {"k": "\xff"}}',
    "CP949": '{"kind": "noop", "input": {}, "metadata": {"k": "값"}}'.encode("cp949"),
    "lone surrogate in a text": json.dumps(indexing(document(text="a\ud800"))).encode(),
    "lone surrogate in a question": json.dumps(inference(question="\udc00?")).encode(),
    "lone surrogate in a name": json.dumps(noop(input={"\ud800": 1})).encode(),
    "NaN": b'{"kind": "noop", "input": {"sleep_s": NaN}}',
    "infinity": b'{"kind": "inference", "input": {"collection": "c", "question": "?", "filter": {"n": 1e999}}}',
    "a number without end": b'{"kind": "noop", "input": {}, "max_attempts": 1' + b"0" * 5000 + b"}",
    "nested deeply": b'{"kind": "noop", "input": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "nested a bit too deeply": b'{"kind": "noop", "input": ' + b"[" * 1010 + b"]" * 1010 + b"}",
}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/collections/c/search"])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_json_is_refused(http: httpx.Client, path: str, body: bytes) -> None:
    answer = http.post(path, content=body, headers=JSON)
    assert problem(answer) == (400, "malformed_json", "body")
    assert answer.json()["remedy"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_json_must_be_called_json(http: httpx.Client, content_type: str) -> None:
    answer = http.post("/v1/jobs", content=json.dumps(noop()), headers={"Content-Type": content_type})
    assert problem(answer) == (422, INVALID, "Content-Type")
    assert "application/json" in answer.json()["detail"]


def test_a_body_over_one_mebibyte_is_refused_by_its_announced_length(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", json=indexing(document(text="a" * 1024 * 1024)))
    assert problem(answer) == (413, "too_large", "body")
    assert "POST /v1/files" in answer.json()["detail"]


def test_a_body_over_one_mebibyte_is_refused_while_it_comes(http: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"kind": "noop", "input": "'
        for _ in range(17):
            yield b"a" * 64 * 1024
        yield b'"}'

    assert problem(http.post("/v1/jobs", content=pieces(), headers=JSON)) == (413, "too_large", "body")


def test_a_body_of_one_mebibyte_is_read(http: httpx.Client) -> None:
    body = json.dumps(noop(colour="")).encode()
    answer = http.post("/v1/jobs", content=body + b" " * (1024 * 1024 - len(body)), headers=JSON)
    assert problem(answer) == (422, INVALID, "colour")


PATHS: Final[dict[str, tuple[str, str, Refused]]] = {
    "job id": ("GET", "/v1/jobs/1", (404, "not_found", "id")),
    "job id of another shape": ("GET", "/v1/jobs/" + NO_FILE, (404, "not_found", "id")),
    "job id with NUL": ("GET", "/v1/jobs/job_%00", (404, "not_found", "id")),
    "job id that is no UTF-8": ("GET", "/v1/jobs/%ff", (404, "not_found", "id")),
    "job that is not": ("GET", f"/v1/jobs/{NO_JOB}", (404, "job_not_found", "id")),
    "events": ("GET", f"/v1/jobs/{NO_JOB}/events", (404, "job_not_found", "id")),
    "result": ("GET", f"/v1/jobs/{NO_JOB}/result", (404, "job_not_found", "id")),
    "cancel": ("POST", f"/v1/jobs/{NO_JOB}/cancel", (404, "job_not_found", "id")),
    "events after nonsense": ("GET", f"/v1/jobs/{NO_JOB}/events?after=x", (422, INVALID, "after")),
    "limit of 0": ("GET", "/v1/jobs?limit=0", (422, INVALID, "limit")),
    "limit of 101": ("GET", "/v1/jobs?limit=101", (422, INVALID, "limit")),
    "limit of files": ("GET", "/v1/files?limit=10001", (422, INVALID, "limit")),
    "unknown state": ("GET", "/v1/jobs?state=done", (422, INVALID, "state")),
    "unknown kind": ("GET", "/v1/jobs?kind=cooking", (422, "unknown_kind", "kind")),
    "after nonsense": ("GET", "/v1/jobs?after=x", (422, INVALID, "after")),
    "parent of nonsense": ("GET", "/v1/jobs?parent=x", (422, INVALID, "parent")),
    "files after nonsense": ("GET", f"/v1/files?after={NO_JOB}", (422, INVALID, "after")),
    "file id": ("GET", "/v1/files/1", (404, "not_found", "id")),
    "file that is not": ("GET", f"/v1/files/{NO_FILE}/content", (404, "file_not_found", "id")),
    "collection name": ("GET", "/v1/collections/No", (422, INVALID, "name")),
    "collection that is not": ("GET", "/v1/collections/never-made", (404, "collection_not_found", "name")),
    "delete what is not": ("DELETE", "/v1/collections/never-made", (404, "collection_not_found", "name")),
    "document of no collection": (
        "DELETE",
        "/v1/collections/never-made/documents/a/b",
        (404, "collection_not_found", "name"),
    ),
    "unknown route": ("GET", "/v1/cookies", (404, "not_found", None)),
    "root": ("GET", "/", (404, "not_found", None)),
    "wrong method": ("DELETE", "/v1/jobs", (405, "method_not_allowed", None)),
    "wrong method of a job": ("PUT", f"/v1/jobs/{NO_JOB}", (405, "method_not_allowed", None)),
}


@pytest.mark.parametrize(("method", "path", "refused"), PATHS.values(), ids=PATHS)
def test_a_wrong_path_or_query_is_named(http: httpx.Client, method: str, path: str, refused: Refused) -> None:
    answer = http.request(method, path)
    assert problem(answer) == refused
    if answer.status_code == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("key", ["", "a" * 256, "a\tb"])
def test_a_wrong_idempotency_key_is_refused(http: httpx.Client, key: str) -> None:
    answer = http.post("/v1/jobs", json=noop(), headers={"Idempotency-Key": key})
    status, code, field = problem(answer)
    assert (status, code, str(field).lower()) == (422, INVALID, "idempotency-key")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": ""}, "query"),
        ({"question": "무엇?"}, "query"),
        ({"query": "무엇?", "top_k": "many"}, "top_k"),
        ({"query": "무엇?", "filter": {"k": {}}}, "filter"),
        ({"query": "무엇?", "filter": []}, "filter"),
        ({"query": "무엇?", "filter": {"k": {"like": "x"}}}, "filter"),
        ({"query": "무엇?", "filter": {"and": [{"k": None}]}}, "filter"),
        ({"query": "무엇?", "filter": {"k": {"gt": "tall"}}}, "filter"),
        ({"query": "무엇?", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_search_is_refused(http: httpx.Client, body: Any, field: str) -> None:
    assert problem(http.post("/v1/collections/c/search", json=body)) == (422, INVALID, field)


def test_what_is_no_http_is_answered_and_done_no_harm(up: Up, http: httpx.Client) -> None:
    address = httpx.URL(up.url)
    script = "import socket,sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60); "
    script += r"s.sendall(b'NONSENSE\x00\xff\r\n\r\n'); print(s.recv(100))"
    command = ["python3", "-c", script, address.host, str(address.port)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "400" in said.stdout
    assert http.get("/healthz").json() == {"status": "ok"}


def test_a_head_without_end_is_refused_before_it_fills_the_memory(up: Up) -> None:
    address = httpx.URL(up.url)
    assert httpx.get(f"{up.url}/healthz", headers={"X-Long": "a" * 32 * 1024}).status_code == 200
    with socket.create_connection((address.host, address.port or 80), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Endless: ")
        for _ in range(64):
            if select.select([connection], [], [], 0.02)[0]:
                break
            connection.sendall(b"a" * 16 * 1024)
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 431 ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "head_too_large"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "x" * 500_000, "input": {}},
        noop(input={"x" * 500_000: 1}),
        indexing(document(**{"x" * 500_000: 1})),
        inference(filter={"a": {"x" * 500_000: 1}}),
        inference(filter={"x" * 150: {"x" * 500_000: 1}}),
    ],
)
def test_an_error_stays_short_whatever_it_quotes(http: httpx.Client, body: Any) -> None:
    answers = [
        http.post("/v1/jobs", json=body),
        http.get("/v1/jobs/" + "%00" * 20_000),
        http.get("/v1/jobs", params={"x" * 20_000: "1", "state": "y" * 20_000}),
    ]
    assert [answer.status_code for answer in answers] == [422, 404, 422]
    assert all(answer.json()["detail"] and len(answer.content) < 20_000 for answer in answers)
