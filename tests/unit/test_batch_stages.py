"""The stages of `batch`: nothing begins before every line is checked, and the files say what became of each."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from consumers.stages.batch import requests
from consumers.stages.ports import Ports
from consumers.stages.registry import stage
from schemas.batches.output import PIECE_BYTES, Closing, LineEnd, output
from schemas.errors import BatchInvalid, Conflict, InvalidInput, JobExpired, NotFound
from schemas.lifecycle import JobState
from schemas.outcomes import Cancelled, Child, ChildStream, Done, Fail, FanOut
from schemas.topics import Lane
from tests.unit.ports_in_memory import World

S = JobState
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class MemoryBatches:
    """The lines of one batch, as Postgres gives them."""

    lines: list[LineEnd] = field(default_factory=list)
    closing: Closing | None = None
    in_time: bool = True
    begun: list[tuple[int, float]] = field(default_factory=list)
    tenant: str = "t"

    async def begin(self, job_id: UUID, lines: int, window_s: float) -> bool:
        self.begun.append((lines, window_s))
        return self.in_time

    async def finalize(self, job_id: UUID) -> Closing | None:
        return self.closing

    async def counts(self, job_id: UUID, tenant: str) -> dict[JobState, int]:
        found: dict[JobState, int] = {}
        for line in self.lines if tenant == self.tenant else []:
            found[line.state] = found.get(line.state, 0) + 1
        return found

    async def ends(self, job_id: UUID, *states: JobState) -> AsyncIterator[LineEnd]:
        for state in states:
            for line in self.lines:
                if line.state is state:
                    yield line

    async def undone(self, job_id: UUID, tenant: str) -> AsyncIterator[Child]:
        for line in self.lines:
            if line.state in (S.FAILED, S.CANCELLED):
                yield Child("noop", {}, key=line.custom_id, max_attempts=2)


def world(batches: MemoryBatches) -> tuple[World, Ports]:
    made = World()
    ports = made.ports
    ports.batches = batches
    return made, ports


def noop(custom_id: str, **input: Any) -> bytes:
    body = {"kind": "noop", "input": input}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/jobs", "body": body}).encode()


def uploaded(made: World, content: bytes, purpose: str = "batch") -> str:
    file_id = made.upload(content, "lines.jsonl")
    made.files.named[file_id] = replace(made.files.named[file_id], purpose=purpose)
    return file_id


def end(custom_id: str, state: JobState, result: str | None = None, error: str | None = None) -> LineEnd:
    return LineEnd(uuid4(), custom_id, "noop", state, result, error, NOW, NOW)


async def checked(content: bytes, batches: MemoryBatches | None = None, **given: Any) -> FanOut:
    batches = batches or MemoryBatches()
    made, ports = world(batches)
    file_id = uploaded(made, content, given.pop("purpose", "batch"))
    job = made.job("batch", "check", {"input_file_id": file_id, "endpoint": "/v1/jobs", **given})
    outcome = await stage("batch", "check")(job, ports)
    assert isinstance(outcome, FanOut)
    return outcome


async def children(outcome: FanOut) -> list[Child]:
    assert isinstance(outcome.children, ChildStream)
    return [child async for child in outcome.children.each()]


async def test_each_line_becomes_a_child_with_its_id_as_key() -> None:
    batches = MemoryBatches()
    content = b"\xef\xbb\xbf" + noop("a") + b"\r\n\n  \n" + noop("b", steps=2) + b"\n" + noop("나")
    outcome = await checked(content, batches, completion_window="30m")
    assert isinstance(outcome.children, ChildStream)
    assert (outcome.children.count, outcome.lane, outcome.then) == (3, Lane.BULK, "assemble")
    for _ in range(2):
        assert [(child.key, child.kind) for child in await children(outcome)] == [
            ("a", "noop"),
            ("b", "noop"),
            ("나", "noop"),
        ]
    assert batches.begun == [(3, 1800.0)]


async def test_nothing_is_begun_when_a_line_is_no_request() -> None:
    batches = MemoryBatches()
    content = b"\n".join([noop("a"), b"", noop("a"), b"{", noop("b", steps=0)])
    with pytest.raises(BatchInvalid, match="line 3: line 1 has the same custom_id; and 2 more") as caught:
        await checked(content, batches)
    assert [(one.line, one.code, one.param) for one in caught.value.lines] == [
        (3, "duplicate_custom_id", "custom_id"),
        (4, "invalid_json_line", None),
        (5, "invalid_line", "body.input.steps"),
    ]
    assert (batches.begun, caught.value.retryable) == ([], False)


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "empty_file", 1),
        (b" \n\n", "empty_file", 1),
        (b"\n".join(noop(f"{n}") for n in range(4)), "too_many_lines", 4),
        (b" " * 2_000, "file_too_large", 1),
        (b"x" * 600, "line_too_long", 1),
    ],
)
async def test_a_file_that_cannot_be_a_batch_is_refused(
    content: bytes, code: str, line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MAX_LINES", 3)
    monkeypatch.setattr(requests, "MAX_BYTES", 1_000)
    monkeypatch.setattr(requests, "MAX_LINE_BYTES", 500)
    monkeypatch.setattr("schemas.batches.lines.MAX_LINE_BYTES", 500)
    with pytest.raises(BatchInvalid) as caught:
        await checked(content)
    assert [(one.code, one.line) for one in caught.value.lines] == [(code, line)]


async def test_only_the_first_errors_are_listed() -> None:
    with pytest.raises(BatchInvalid, match="and 149 more") as caught:
        await checked(b"{\n" * 150)
    assert len(caught.value.lines) == requests.SHOWN


async def test_a_file_for_something_else_and_one_that_is_gone_are_refused() -> None:
    with pytest.raises(InvalidInput, match="upload it with `batch`"):
        await checked(noop("a"), purpose="documents")
    made, ports = world(MemoryBatches())
    job = made.job("batch", "check", {"input_file_id": f"file_{'0' * 32}", "endpoint": "/v1/jobs"})
    with pytest.raises(NotFound):
        await stage("batch", "check")(job, ports)


async def test_a_batch_whose_window_is_over_does_not_begin() -> None:
    with pytest.raises(JobExpired):
        await checked(noop("a"), MemoryBatches(in_time=False))


async def test_a_retry_makes_the_lines_that_did_not_succeed_and_needs_no_file() -> None:
    lines = [end("a", S.SUCCEEDED, "{}"), end("b", S.FAILED), end("c", S.CANCELLED)]
    before = f"batch_{uuid4().hex}"
    outcome = await checked(b"", MemoryBatches(lines), retry_of=before)
    assert [(child.key, child.max_attempts) for child in await children(outcome)] == [("b", 2), ("c", 2)]
    with pytest.raises(Conflict):
        await checked(b"", MemoryBatches(lines[:1]), retry_of=before)
    with pytest.raises(Conflict):
        await checked(b"", MemoryBatches(lines, tenant="another"), retry_of=before)


async def assembled(batches: MemoryBatches, made: World | None = None) -> tuple[Any, dict[str, list[Any]]]:
    known, ports = world(batches)
    if made is not None:
        known.files, known.blobs = made.files, made.blobs
        ports = known.ports
        ports.batches = batches
    given = {"input_file_id": f"file_{'0' * 32}", "endpoint": "/v1/jobs"}
    outcome = await stage("batch", "assemble")(
        known.job("batch", "assemble", given, {"lines": len(batches.lines)}), ports
    )
    files = {
        one.filename.split("_")[-1]: [json.loads(line) for line in (await known.blobs.get(one.blob)).splitlines()]
        for one in known.files.named.values()
        if one.purpose == "batch_output"
    }
    return outcome, files


async def test_the_files_have_each_line_in_the_order_of_the_input() -> None:
    error = json.dumps({"code": "timeout", "message": "too slow", "retryable": True})
    batches = MemoryBatches(
        [end("a", S.SUCCEEDED, '{"n":1}'), end("b", S.FAILED, None, error), end("c", S.SUCCEEDED, '{"n":2}')]
    )
    outcome, files = await assembled(batches)
    assert isinstance(outcome, Done)
    assert outcome.result["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert [(one["custom_id"], one["response"]["body"]["result"]) for one in files["output.jsonl"]] == [
        ("a", {"n": 1}),
        ("c", {"n": 2}),
    ]
    [failed] = files["error.jsonl"]
    assert (failed["response"]["status_code"], failed["response"]["body"]["error"]["code"]) == (500, "timeout")


async def test_a_file_without_lines_is_not_made() -> None:
    outcome, files = await assembled(MemoryBatches([end("a", S.SUCCEEDED, "{}")]))
    assert outcome.result["error_file_id"] is None
    assert set(files) == {"output.jsonl"}
    outcome, files = await assembled(MemoryBatches([end("a", S.FAILED, None, "{}")]))
    assert outcome.result["output_file_id"] is None
    assert set(files) == {"error.jsonl"}


@pytest.mark.parametrize(
    ("closing", "rest", "outcome", "code"),
    [
        ("cancelled", S.CANCELLED, Cancelled, "batch_cancelled"),
        ("expired", S.CANCELLED, Fail, "batch_expired"),
        (None, S.CANCELLED, Done, "request_cancelled"),
        ("expired", S.SUCCEEDED, Done, None),
    ],
)
async def test_a_batch_that_was_closed_ends_so_and_keeps_what_is_done(
    closing: Closing | None, rest: JobState, outcome: type, code: str | None
) -> None:
    found, files = await assembled(MemoryBatches([end("a", S.SUCCEEDED, "{}"), end("b", rest, "{}")], closing))
    assert isinstance(found, outcome)
    assert found.result["output_file_id"] is not None
    assert [line["error"]["code"] for line in files.get("error.jsonl", [])] == ([code] if code else [])


async def test_a_large_result_is_read_from_its_file_and_one_that_was_removed_is_said_so() -> None:
    made = World()
    large = made.upload(b'{"text": "' + b"x" * 100_000 + b'"}')
    gone = f"file_{'0' * 32}"
    lines = [end("a", S.SUCCEEDED, json.dumps({"file": one}, separators=(",", ":"))) for one in (large, gone)]
    _, files = await assembled(MemoryBatches(lines), made)
    whole, lost = files["output.jsonl"]
    assert len(whole["response"]["body"]["result"]["text"]) == 100_000
    assert (lost["response"], lost["error"]["code"]) == (None, "result_removed")


async def test_the_output_comes_in_pieces_whatever_its_size() -> None:
    lines = MemoryBatches([end(f"{n}", S.SUCCEEDED, json.dumps({"t": "x" * 1_000})) for n in range(1_000)])

    async def content(file_id: str) -> bytes:
        raise AssertionError

    pieces = [piece async for piece in output(lines.ends(uuid4(), S.SUCCEEDED), "/v1/jobs", None, content)]
    assert len(pieces) > 3
    assert max(map(len, pieces)) < PIECE_BYTES + 2_000
    assert b"".join(pieces).count(b"\n") == 1_000


async def test_a_file_of_blank_lines_leaves_others_their_turns() -> None:
    world, turns = World(), 0
    world.blobs.data["t/blank"] = b"\n" * 500_000 + b"x"

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    found = [line async for line in requests.lines(world.blobs, "t/blank")]
    beside.cancel()
    assert found == [(500_001, b"x")]
    assert turns >= 500_000 // requests.BLANKS
