"""The clients follow jobs: events without a gap, waiting for an end, and answers."""

import json
from typing import Any

import httpx
import pytest

from producers.client import flows
from producers.client.errors import (
    ApiError,
    JobFailed,
    UnexpectedAnswer,
    WaitTimeout,
)
from producers.client.events import EventCursor, ProgressEvent, StateEvent
from producers.client.flows import Pause
from producers.client.models import Job
from producers.client.requests import Request
from schemas.lifecycle import JobState
from tests.unit.scripted_transport import (
    FILE,
    ID,
    Caller,
    Script,
    call,
    job,
    no_backoff,
    ok,
    problem,
    script,
    sse,
    stream,
)

__all__ = ["call", "no_backoff", "script"]


async def test_events_go_on_where_a_broken_stream_stopped(call: Caller, script: Script) -> None:
    running, cut = sse(1, "state", state="running"), sse(2, "progress", message="안\u2028녕")
    script.answers = [
        # A character cut in two, a keep-alive, then the connection is lost in the middle of an event.
        stream(running[:20], running[20:], cut[:-8], cut[-8:], b": ping\n\n", b"id: 3\nda", httpx.ReadError("cut")),
        stream(cut, sse(3, "progress", done=1, total=2), sse(4, "news"), sse(5, "state", state="succeeded")),
    ]
    events = await call("events", ID)
    assert [event.id for event in events] == [1, 2, 3, 4, 5]
    assert [type(event).__name__ for event in events][1:] == ["ProgressEvent", "ProgressEvent", "Event", "StateEvent"]
    assert isinstance(events[1], ProgressEvent)
    assert events[1].data["message"] == "안\u2028녕"
    assert isinstance(events[2], ProgressEvent)
    assert events[2].progress.total == 2
    assert isinstance(events[4], StateEvent)
    assert events[4].ends
    assert "last-event-id" not in script.sent[0].headers
    assert script.sent[1].headers["last-event-id"] == "2"


async def test_events_after_the_last_one_end_at_once(call: Caller, script: Script) -> None:
    script.answers = [stream(), ok(job("succeeded"))]
    assert await call("events", ID, 5) == []
    assert script.sent[0].headers["last-event-id"] == "5"


async def test_events_of_an_unknown_job_are_an_error(call: Caller, script: Script) -> None:
    script.answers = [problem(404, "not_found")]
    with pytest.raises(ApiError, match="not_found"):
        await call("events", ID)
    script.answers = [ok(job())]
    with pytest.raises(UnexpectedAnswer, match="event stream"):
        await call("events", ID)


def test_reconnecting_slows_down_while_nothing_comes() -> None:
    cursor = EventCursor(ID)
    pauses = []
    for _ in range(9):
        cursor.connected()
        pauses.append(cursor.pause_s)
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses[-1] == 5.0


def drive(flow: flows.Flow[Any], *answers: Any) -> tuple[list[Request[Any] | Pause], Any]:
    """Runs a flow without sending or sleeping; returns what it yielded and what it returned."""
    steps: list[Request[Any] | Pause] = []
    left = list(answers)
    try:
        step = next(flow)
        while True:
            steps.append(step)
            step = flow.send(None if isinstance(step, Pause) else left.pop(0))
    except StopIteration as stop:
        return steps, stop.value


def test_waiting_asks_until_the_job_has_ended() -> None:
    seen: list[JobState] = []
    views = [Job.model_validate(job(state)) for state in ("queued", "queued", "running", "failed")]
    steps, ended = drive(flows.wait(ID, timeout=None, on_change=lambda j: seen.append(j.state)), *views)
    assert ended.state is JobState.FAILED
    assert seen == ["queued", "running", "failed"]
    assert [type(step) for step in steps] == [Request, Pause] * 3 + [Request]
    assert all(0.05 <= step.seconds <= 1.0 for step in steps if isinstance(step, Pause))


def test_waiting_gives_up_after_its_time_and_says_that_the_job_goes_on() -> None:
    with pytest.raises(WaitTimeout, match="still running") as caught:
        drive(flows.wait(ID, timeout=0, on_change=None), Job.model_validate(job("running")))
    assert "continues" in str(caught.value.remedy)


RESULT = {"answer": "서울", "found": True, "citations": [], "model": "extractive"}


async def test_ask_returns_the_answer_and_its_job(call: Caller, script: Script) -> None:
    script.answers = [ok(job("succeeded", kind="inference", result=RESULT))]
    answer = await call("ask", "ko", "수도는?", top_k=3, filter={"lang": "ko"})
    assert (answer.answer, answer.job) == ("서울", ID)
    assert script.body()["input"] == {"collection": "ko", "question": "수도는?", "top_k": 3, "filter": {"lang": "ko"}}
    assert script.sent[0].headers["prefer"] == "wait=60"
    await call("ask", "ko", "수도는?", rerank=False)
    assert script.body()["input"] == {"collection": "ko", "question": "수도는?", "top_k": 5, "rerank": False}


async def test_ask_reads_a_large_result_from_its_file(call: Caller, script: Script) -> None:
    artifact = httpx.Response(200, content=json.dumps(RESULT).encode(), headers={"content-type": "application/gzip"})
    script.answers = [ok(job("running")), ok(job("succeeded", result={"file": FILE})), artifact]
    assert (await call("ask", "ko", "수도는?")).answer == "서울"
    assert script.sent[2].url.path == f"/v1/jobs/{ID}/result"


async def test_ask_raises_when_its_job_fails(call: Caller, script: Script) -> None:
    fault = {"code": "collection_empty", "message": "nothing is indexed", "retryable": False}
    script.answers = [ok(job("failed", error=fault))]
    with pytest.raises(JobFailed, match="nothing is indexed") as caught:
        await call("ask", "ko", "수도는?")
    assert caught.value.code == "collection_empty"
