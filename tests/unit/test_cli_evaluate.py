"""What `welip evaluate` makes of its options, and its live line."""

from typing import Any

import httpx
import pytest

from producers.client.cli import evaluated
from producers.client.cli.evaluate import parse_gate, parse_variant
from producers.client.cli.evaluated import Line, Rate, obstacle
from producers.client.cli.failures import WrongUse
from producers.client.models import Job
from producers.client.sync import Client

NOBODY: Any = None
"""A gate that names no run asks no server."""


def test_a_variant_is_a_name_with_json_values() -> None:
    assert parse_variant("five") == {"name": "five"}
    assert parse_variant("one:top_k=1,generate=null,rerank=false,collection=other") == {
        "name": "one",
        "top_k": 1,
        "generate": None,
        "rerank": False,
        "collection": "other",
    }
    with pytest.raises(WrongUse, match="'top_k' is not key=value"):
        parse_variant("one:top_k")


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("f1>=0.4", {"metric": "f1", "min": 0.4}),
        (" recall@5 >= 1 ", {"metric": "recall@5", "min": 1.0}),
        ("f1>=five-0.01", {"metric": "f1", "not_worse_than": "five", "by": 0.01}),
        ("f1>=top-5", {"metric": "f1", "not_worse_than": "top-5", "by": 0.0}),
        ("f1>=top-5-.02", {"metric": "f1", "not_worse_than": "top-5", "by": 0.02}),
    ],
)
def test_a_gate_is_a_least_value_or_another_run(text: str, gate: dict[str, Any]) -> None:
    assert parse_gate(NOBODY, text) == gate


@pytest.mark.parametrize("text", ["f1", "f1>0.4", "f1<=0.4", ">=0.4", "f1>=a b"])
def test_a_gate_that_is_not_understood_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(WrongUse, match="is not understood"):
        parse_gate(NOBODY, text)


def test_the_live_line_tells_speed_and_time_left_since_it_was_first_looked_at() -> None:
    rate = Rate()
    assert rate.line(1_000, 2_223, now=5.0) == "answered 1,000 of 2,223"
    assert rate.line(1_000, 2_223, now=6.0) == "answered 1,000 of 2,223"
    assert rate.line(1_200, 2_223, now=7.0) == "answered 1,200 of 2,223 · 100/s · 10 s left"
    assert rate.line(1_020, 2_223, now=15.0) == "answered 1,020 of 2,223 · 2/s · 10 min left"
    assert rate.line(3, 2_223, now=16.0) == "answered 3 of 2,223", "another round began"


def shown(state: str, **more: Any) -> dict[str, Any]:
    """A job as the server shows it."""
    return {"id": "job_1", "kind": "evaluation", "state": state, "created_at": "2026-12-01T00:00:00Z", **more}


def test_the_live_line_tells_what_is_in_the_way() -> None:
    away = {"code": "dependency_unavailable", "message": "the engine cannot be reached", "retryable": True}
    waiting = [shown("retry_wait", id="job_2", error=away)]

    def children(request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"parent": "job_1", "state": "retry_wait", "limit": "1"}
        return httpx.Response(200, json={"data": waiting})

    counts = {"total": 2, "succeeded": 1, "retry_wait": 1}
    run = Job.model_validate(shown("running", stage="collect", children=counts))
    line = Line()
    with Client("http://nowhere", transport=httpx.MockTransport(children)) as client:
        line.obstacle = obstacle(client, run)
        why = "the engine cannot be reached (dependency_unavailable)"
        assert line.of(run, 0.0) == f"judging, slices to go: 1 · trying again: {why}"
        assert obstacle(client, Job.model_validate(waiting[0])) == why, "the job itself"
        waiting.clear()
        line.obstacle = obstacle(client, run)
        assert line.of(run, 0.0) == "judging, slices to go: 1"


def test_a_job_of_another_kind_is_no_run_to_compare_with() -> None:
    job = shown("succeeded", id=f"job_{1:032x}", kind="indexing", result={"collection": "ko"})
    answers = httpx.MockTransport(lambda _: httpx.Response(200, json=job))
    with Client("http://nowhere", transport=answers) as client:
        with pytest.raises(WrongUse, match="is a job of kind 'indexing', not an evaluation"):
            parse_gate(client, f"f1>={job['id']}")
        with pytest.raises(ValueError, match="is a job of kind 'indexing', not an evaluation"):
            client.evaluation(job["id"])


def test_without_a_terminal_what_is_in_the_way_is_noted_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluated, "LOOKS_EVERY_S", 0.01)
    away = {"code": "dependency_unavailable", "message": "the engine cannot be reached", "retryable": True}
    looks = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        if request.url.path == "/v1/jobs":
            looks += 1
            return httpx.Response(200, json={"data": [shown("retry_wait", id="job_2", error=away)]})
        waiting = shown("running", children={"total": 1, "retry_wait": 1})
        return httpx.Response(200, json=shown("succeeded") if looks >= 3 else waiting)

    with Client("http://nowhere", transport=httpx.MockTransport(server)) as client:
        evaluated.follow(client, Job.model_validate(shown("running")), quiet=False)
    assert capsys.readouterr().err.count("trying again: the engine cannot be reached (dependency_unavailable)") == 1
