"""`welip promote` and its like: what is sent, and what the exit code says."""

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

NOW = "2026-11-20T00:00:00Z"
JOB = "job_" + "1" * 32
ALIAS = {"id": "support", "model": "small", "canary": None, "created_at": NOW, "changed_at": NOW}
STEP = {
    "id": "promotion_1", "alias": "support", "action": "promoted", "model": "large", "previous": "small",
    "canary": None, "share": None, "by": "laptop", "reason": None, "forced": False, "evaluation": None,
    "evidence": None, "created_at": NOW,
}  # fmt: skip
MOVED = {**ALIAS, "model": "large", "entry": STEP}
FILE = {"id": "file_1", "filename": "q.jsonl", "bytes": 3}


class Peer:
    """Has the alias `support`, and refuses a promotion with `refusal`."""

    refusal: str | None = None
    job_state = "succeeded"

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        json_sent = request.headers.get("content-type") == "application/json"
        self.sent.append((request.method, request.url.path, json.loads(request.content) if json_sent else None))
        error = {"code": self.refusal, "message": "f1 0.1 beside 0.8", "retryable": False} if self.refusal else None
        job = {"id": JOB, "kind": "promotion", "state": self.job_state, "created_at": NOW, "error": error}
        match request.url.path:
            case "/v1/files":
                return httpx.Response(200, json=FILE)
            case "/v1/jobs":
                return httpx.Response(202, json=job)
            case path if path == f"/v1/jobs/{JOB}":
                return httpx.Response(200, json=job)
            case "/v1/models/aliases/fresh":
                return httpx.Response(404, json={"title": "no", "code": "alias_not_found", "detail": "no"})
            case path if request.method == "GET" and path == "/v1/models/aliases/support":
                return httpx.Response(200, json=ALIAS)
        if self.refusal:
            return httpx.Response(422, json={"title": "no", "code": self.refusal, "detail": "f1 0.1 beside 0.8"})
        return httpx.Response(200, json=MOVED)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Peer]:
    found = Peer()
    monkeypatch.setattr("producers.client.sync.Client", partial(Client, transport=httpx.MockTransport(found)))
    monkeypatch.delenv("WELIP_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("q.jsonl").write_text("{}")
    stamina.set_testing(True, attempts=1)
    yield found
    stamina.set_testing(False)
    stamina.instrumentation.set_on_retry_hooks(None)


def welip(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def test_a_promotion_expects_what_the_alias_points_to_now(peer: Peer) -> None:
    assert "large" in welip("promote", "support", "large", "--evaluation", JOB).stdout
    assert peer.sent[-1] == (
        "POST",
        "/v1/models/aliases/support/promote",
        {"model": "large", "expected": "small", "evaluation": JOB, "force": False},
    )
    welip("promote", "fresh", "large")
    assert peer.sent[-1][2]["expected"] is None
    welip("promote", "support", "large", "--expected", "other", "--force", "--reason", "급하다")
    assert peer.sent[-1][2] == {"model": "large", "expected": "other", "force": True, "reason": "급하다"}


def test_a_model_that_is_not_shown_to_be_as_good_has_an_exit_code_of_its_own(peer: Peer) -> None:
    peer.refusal = "gate_not_passed"
    assert "f1 0.1 beside 0.8" in welip("promote", "support", "large", "--evaluation", JOB, code=4).stderr
    peer.job_state = "failed"
    assert "f1 0.1 beside 0.8" in welip("promote", "support", "large", "--dataset", "q.jsonl", code=4).stderr
    peer.refusal = "gate_failed"
    welip("promote", "support", "large", "--dataset", "q.jsonl", code=1)


def test_questions_are_uploaded_and_asked_in_a_job(peer: Peer) -> None:
    asked = ("--dataset", "q.jsonl", "-c", "ko", "--metric", "contains", "--by", "0.1", "--reason", "r")
    assert "small" in welip("promote", "support", "large", *asked).stdout
    [submitted] = [body for method, path, body in peer.sent if (method, path) == ("POST", "/v1/jobs")]
    assert submitted == {
        "kind": "promotion",
        "input": {
            "alias": "support",
            "model": "large",
            "collection": "ko",
            "metrics": ["contains"],
            "by": 0.1,
            "reason": "r",
            "dataset": {"file": "file_1"},
        },
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", "support", "large", "--force"),
        ("promote", "support", "large", "--dataset", "q.jsonl", "--evaluation", JOB),
        ("promote", "support", "large", "--dataset", "none.jsonl"),
        ("promote", "support", "large", "--metric", "f1"),
        ("canary", "support"),
        ("canary", "support", "large", "--end"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_sent(peer: Peer, arguments: tuple[str, ...]) -> None:
    welip(*arguments, code=2)
    assert peer.sent == []


def test_a_canary_is_started_and_ended(peer: Peer) -> None:
    welip("canary", "support", "large", "--share", "0.2")
    assert peer.sent[-1] == ("POST", "/v1/models/aliases/support/canary", {"model": "large", "share": 0.2})
    welip("canary", "support", "--end")
    assert peer.sent[-1][:2] == ("DELETE", "/v1/models/aliases/support/canary")
