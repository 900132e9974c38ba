"""`welip pause`, `resume` and `steer` send what was asked for, to jobs and to batches."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import pytest
from typer.testing import CliRunner, Result

from producers.client.cli.app import app
from producers.client.sync import Client

JOB = f"job_{1:032x}"
BATCH = f"batch_{1:032x}"
VIEW = {"id": JOB, "kind": "evaluation", "state": "running", "created_at": "2026-01-02T03:04:05Z"}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, object]]:
    found: list[tuple[str, str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        found.append((request.method, request.url.path, json.loads(request.content)))
        return httpx.Response(200, json=VIEW)

    monkeypatch.setattr("producers.client.sync.Client", partial(Client, transport=httpx.MockTransport(answer)))
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_job_is_paused_and_resumed_with_a_reason(sent: list[tuple[str, str, object]]) -> None:
    assert run("pause", JOB, "--reason", "엔진 교체").output == f"{JOB} is paused\n"
    assert run("resume", JOB).output == f"{JOB} goes on\n"
    assert sent == [
        ("POST", f"/v1/jobs/{JOB}/pause", {"reason": "엔진 교체"}),
        ("POST", f"/v1/jobs/{JOB}/resume", {}),
    ]


def test_only_what_is_given_is_changed(sent: list[tuple[str, str, object]]) -> None:
    assert run("steer", JOB, "--weight", "3").output == f"{JOB}: weight 3\n"
    assert (
        run("steer", JOB, "--at-once", "none", "--deadline", "none").output == f"{JOB}: at once none, deadline none\n"
    )
    assert [body for _, _, body in sent] == [{"weight": 3}, {"at_once": None, "deadline": None}]
    assert {(method, path) for method, path, _ in sent} == {("PATCH", f"/v1/jobs/{JOB}")}


@pytest.mark.parametrize("text", ["2h", "2099-01-02T03:04"])
def test_a_deadline_is_a_length_of_time_or_a_moment(text: str, sent: list[tuple[str, str, object]]) -> None:
    assert run("steer", JOB, "--deadline", text).exit_code == 0
    [(_, _, body)] = sent
    assert isinstance(body, dict)
    at = datetime.fromisoformat(body["deadline"])
    assert at.utcoffset() is not None
    assert at > datetime.now(UTC) + timedelta(hours=1)


def test_the_id_of_a_batch_leads_to_the_batch(sent: list[tuple[str, str, object]]) -> None:
    run("pause", BATCH)
    run("steer", BATCH, "--at-once", "4")
    assert [(method, path) for method, path, _ in sent] == [
        ("POST", f"/v1/batches/{BATCH}/pause"),
        ("PATCH", f"/v1/batches/{BATCH}"),
    ]


@pytest.mark.parametrize("wrong", [[], ["--at-once", "many"], ["--deadline", "soon"], ["--weight", "0"]])
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    wrong: list[str], sent: list[tuple[str, str, object]]
) -> None:
    assert run("steer", JOB, *wrong).exit_code == 2
    assert sent == []
