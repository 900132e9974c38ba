"""Batches end to end, by OpenAI's own client: files in, lines as jobs, files out."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import openai
import pytest
from openai.types import Batch

from tests.e2e.processes import Up, cli, until

JOBS: Any = "/v1/jobs"


@pytest.fixture(scope="module")
def official(up: Up) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{up.url}/v1", api_key="any", max_retries=2) as client:
        yield client


def line(custom_id: str, url: str = JOBS, **body: Any) -> bytes:
    body = body or {"kind": "noop", "input": {}}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body}).encode() + b"\n"


def noop(custom_id: str, sleep_s: float = 0, **more: Any) -> bytes:
    return line(custom_id, kind="noop", input={"sleep_s": sleep_s}, **more)


def make(official: openai.OpenAI, content: bytes, *, window: Any = "24h", endpoint: Any = JOBS, **more: Any) -> Batch:
    file = official.files.create(file=("lines.jsonl", content), purpose="batch")
    return official.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window=window, **more)


def ended(official: openai.OpenAI, batch: Batch) -> Batch:
    def found() -> Batch | None:
        now = official.batches.retrieve(batch.id)
        return now if now.status in ("completed", "failed", "expired", "cancelled") else None

    return until(found, f"{batch.id} ends")


def in_progress(official: openai.OpenAI, batch: Batch, done: int = 0) -> None:
    def found() -> bool:
        now = official.batches.retrieve(batch.id)
        assert now.request_counts is not None
        return now.status == "in_progress" and now.request_counts.completed >= done

    until(found, f"{batch.id} is in progress")


def lines_of(official: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(one) for one in official.files.content(file_id).read().splitlines()]


def test_every_line_becomes_a_job_and_the_files_say_what_became_of_it(official: openai.OpenAI) -> None:
    missing = line("없음", kind="inference", input={"collection": "nowhere", "question": "왜?"})
    content = b"".join(noop(f"번호-{n}") for n in range(30)) + b"\n" + missing
    life: Any = {"anchor": "created_at", "seconds": 7200}
    made = make(official, content, metadata={"run": "7"}, output_expires_after=life)
    assert (made.object, made.endpoint, made.completion_window) == ("batch", JOBS, "24h")
    assert made.expires_at == made.created_at + 24 * 3600
    batch = ended(official, made)
    assert (batch.status, batch.metadata, batch.errors) == ("completed", {"run": "7"}, None)
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 31, "completed": 30, "failed": 1}
    assert batch.in_progress_at is not None
    assert batch.finalizing_at is not None
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= (batch.completed_at or 0)
    output = lines_of(official, batch.output_file_id)
    assert [one["custom_id"] for one in output] == [f"번호-{n}" for n in range(30)]
    assert {one["response"]["status_code"] for one in output} == {200}
    assert {one["response"]["body"]["state"] for one in output} == {"succeeded"}
    assert output[0]["response"]["body"]["result"] == {}
    [failed] = lines_of(official, batch.error_file_id)
    assert (failed["custom_id"], failed["response"]["status_code"], failed["error"]) == ("없음", 400, None)
    assert failed["response"]["body"]["error"]["code"] == "collection_not_found"
    file = official.files.retrieve(batch.output_file_id or "")
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert file.expires_at == file.created_at + 7200


def test_nothing_begins_when_a_line_is_no_request(official: openai.OpenAI, http: httpx.Client) -> None:
    content = noop("a") + noop("a") + b"{\n" + line("b", "/v1/embeddings") + line("c", kind="noop", input={"steps": 0})
    batch = ended(official, make(official, content))
    assert (batch.status, batch.output_file_id, batch.in_progress_at) == ("failed", None, None)
    assert batch.errors is not None
    assert [(one.line, one.code, one.param) for one in batch.errors.data or []] == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "invalid_json_line", None),
        (4, "invalid_url", "url"),
        (5, "invalid_line", "body.input.steps"),
    ]
    assert http.get("/v1/jobs", params={"parent": batch.id.replace("batch_", "job_")}).json()["data"] == []


def test_a_model_that_is_not_there_is_told_of_its_line(official: openai.OpenAI) -> None:
    chat = line("q", "/v1/chat/completions", model="gpt-9", messages=[{"role": "user", "content": "안녕"}])
    batch = ended(official, make(official, chat, endpoint="/v1/chat/completions"))
    assert batch.errors is not None
    [error] = batch.errors.data or []
    assert (error.line, error.code, error.param) == (1, "model_not_found", "body.model")


def test_a_cancelled_batch_keeps_what_is_done_and_the_rest_can_be_done_later(
    official: openai.OpenAI, http: httpx.Client
) -> None:
    made = make(official, b"".join(noop(f"q{n}") for n in range(5)) + noop("long", 600) + noop("longer", 600))
    in_progress(official, made, done=5)
    partial = http.get(f"/v1/batches/{made.id}/results").text.splitlines()
    assert {json.loads(one)["custom_id"] for one in partial} == {f"q{n}" for n in range(5)}
    assert official.batches.cancel(made.id).status == "cancelling"
    batch = ended(official, made)
    assert (batch.status, batch.cancelling_at is not None, batch.cancelled_at is not None) == ("cancelled", True, True)
    assert len(lines_of(official, batch.output_file_id)) == 5
    errors = lines_of(official, batch.error_file_id)
    assert {(one["custom_id"], one["error"]["code"]) for one in errors} == {
        ("long", "batch_cancelled"),
        ("longer", "batch_cancelled"),
    }
    with pytest.raises(openai.ConflictError):
        official.batches.cancel(made.id)

    again = http.post(f"/v1/batches/{made.id}/retry_failed").json()
    assert (again["retry_of"], again["status"]) == (made.id, "validating")
    retried = official.batches.retrieve(again["id"])
    in_progress(official, retried)
    assert official.batches.retrieve(again["id"]).request_counts == openai.types.BatchRequestCounts(
        total=2, completed=0, failed=0
    )
    assert http.post(f"/v1/batches/{again['id']}/retry_failed").json()["code"] == "batch_live"
    official.batches.cancel(again["id"])
    assert ended(official, retried).status == "cancelled"
    assert http.post(f"/v1/batches/{ended(official, make(official, noop('x'))).id}/retry_failed").status_code == 409


def test_a_window_that_ends_cuts_off_what_is_not_done(up: Up, official: openai.OpenAI) -> None:
    made = make(official, noop("quick") + noop("slow", 600))
    in_progress(official, made, done=1)
    asyncio.run(end_window(up, made.id))
    batch = ended(official, made)
    assert (batch.status, batch.expired_at is not None, batch.errors) == ("expired", True, None)
    assert [one["custom_id"] for one in lines_of(official, batch.output_file_id)] == ["quick"]
    [error] = lines_of(official, batch.error_file_id)
    assert (error["custom_id"], error["error"]["code"]) == ("slow", "batch_expired")


async def end_window(up: Up, batch: str) -> None:
    """Let time pass for one batch."""
    connection = await asyncpg.connect((up.data / "postgres.url").read_text().strip())
    try:
        job_id = UUID(hex=batch.removeprefix("batch_"))
        await connection.execute("UPDATE batch SET due_at = now(), expires_at = now() WHERE job_id = $1", job_id)
    finally:
        await connection.close()


def test_lists_are_walked_page_by_page(official: openai.OpenAI) -> None:
    made = [make(official, noop("x")).id for _ in range(3)]
    page = official.batches.list(limit=2)
    assert ([one.id for one in page.data], page.has_more) == (made[:0:-1], True)
    assert [one.id for _, one in zip(range(3), page, strict=False)] == made[::-1]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"input_file_id": f"file_{'0' * 32}"}, "input_file_id"),
    ],
)
def test_a_refusal_says_of_what(official: openai.OpenAI, asked: dict[str, Any], param: str) -> None:
    file = official.files.create(file=("lines.jsonl", noop("x")), purpose="batch")
    given = {"input_file_id": file.id, "endpoint": JOBS, "completion_window": "24h", **asked}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        official.batches.create(**given)
    assert caught.value.param == param


def test_only_a_file_for_batches_will_do_and_a_batch_that_is_not_there_is_404(official: openai.OpenAI) -> None:
    file = official.files.create(file=("lines.jsonl", noop("x")), purpose="user_data")
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        official.batches.create(input_file_id=file.id, endpoint=JOBS, completion_window="24h")
    assert caught.value.code == "wrong_purpose"
    with pytest.raises(openai.NotFoundError):
        official.batches.retrieve(f"batch_{'0' * 32}")


def test_the_command_sends_a_file_waits_and_fetches_what_became_of_it(up: Up, tmp_path: Path) -> None:
    source = tmp_path / "requests.jsonl"
    source.write_bytes(noop("a") + line("b", kind="inference", input={"collection": "nowhere", "question": "왜?"}))
    done = cli("batch", str(source), "--json", WELIP_URL=up.url)
    assert done.returncode == 0, done.stderr
    batch = json.loads(done.stdout)
    assert (batch["status"], batch["request_counts"]["failed"]) == ("completed", 1)
    answers, errors = (Path(batch["files"][name]) for name in ("answers", "errors"))
    assert answers == tmp_path / "requests.jsonl.output.jsonl"
    assert json.loads(answers.read_text())["custom_id"] == "a"
    assert json.loads(errors.read_text())["custom_id"] == "b"
    again = cli("batch", batch["id"], "-o", str(tmp_path / "again.jsonl"), WELIP_URL=up.url)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.jsonl").read_bytes() == answers.read_bytes()
    listed = cli("batches", "list", WELIP_URL=up.url)
    assert batch["id"] in listed.stdout
    retried = cli("batches", "retry", batch["id"], "--json", WELIP_URL=up.url)
    assert json.loads(retried.stdout)["retry_of"] == batch["id"]


def test_the_command_says_which_lines_are_no_requests(up: Up, tmp_path: Path) -> None:
    source = tmp_path / "requests.jsonl"
    source.write_bytes(noop("a") + noop("a"))
    done = cli("batch", str(source), WELIP_URL=up.url)
    assert done.returncode == 1
    assert "line 2: line 1 has the same custom_id [duplicate_custom_id] (custom_id)" in done.stdout
    assert cli("batch", str(tmp_path / "none.jsonl"), WELIP_URL=up.url).returncode == 2
