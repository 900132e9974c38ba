"""The command line: its help and version, jobs, and what it says when something goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from producers.client.cli.session import Session
from tests.unit.scripted_server import NOW, Peer, events, job_id, peer, welip, write

__all__ = ["peer"]


ROOT = Path(__file__).parents[2]


def test_the_version_is_told_without_loading_the_client() -> None:
    script = (
        "import sys\nsys.argv = ['welip', '--version']\nfrom producers.client.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'httpx', 'pydantic', 'rich', 'stamina'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("welip ")
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_groups_the_commands() -> None:
    text = welip("--help").stdout
    for word in ("Documents", "Jobs", "Run a server", "index", "ask", "up", "Exit codes"):
        assert word in text


def test_a_failed_job_ends_with_1_and_its_reason(peer: Peer, tmp_path: Path) -> None:
    peer.fault = {"code": "dependency_unavailable", "message": "the index does not answer", "retryable": True}
    result = welip("index", write(tmp_path / "a.md", "글"), code=1)
    assert "the index does not answer [dependency_unavailable] -- submitting it again" in result.stderr
    assert "the index does not answer" in welip("ask", "수도는?", code=1).stderr


def test_jobs_are_listed_with_whole_ids_in_a_pipe(peer: Peer) -> None:
    assert "no such jobs" in welip("jobs").stderr
    welip("ask", "질문")
    line = next(line for line in welip("jobs", "--state", "succeeded").stdout.splitlines() if job_id(0) in line)
    assert line.split()[:3] == [job_id(0), "inference", "succeeded"]
    assert dict(peer.requests[-1].url.params) == {"state": "succeeded", "limit": "20"}
    assert "서울입니다." in welip("job", job_id(0)).stdout


def test_following_prints_events_and_tells_how_the_job_ended(peer: Peer) -> None:
    welip("ask", "질문")
    peer.answers["GET", f"/v1/jobs/{job_id(0)}/events"] = events("running", "succeeded")
    printed = welip("job", job_id(0), "--follow", "--json").stdout
    assert [json.loads(line)["data"]["state"] for line in printed.splitlines()] == ["running", "succeeded"]

    peer.fault = {"code": "timeout", "message": "too slow"}
    peer.answers["GET", f"/v1/jobs/{job_id(0)}/events"] = events("running", "failed")
    result = welip("job", job_id(0), "--follow", code=1)
    assert len(result.stdout.splitlines()) == 2
    assert "too slow [timeout]" in result.stderr


def test_refusals_and_silence_have_exit_codes_of_their_own(peer: Peer) -> None:
    assert "there is no /v1/jobs/job_x" in welip("job", "job_x", code=2).stderr
    conflict = {"code": "conflict", "detail": "it has ended", "remedy": "submit another"}
    peer.answers["POST", "/v1/jobs/job_x/cancel"] = httpx.Response(409, json=conflict)
    assert "it has ended -- submit another" in welip("cancel", "job_x", code=2).stderr
    peer.answers["GET", "/v1/collections"] = httpx.Response(500, text="oops")
    welip("collections", code=3)
    peer.answers["GET", "/v1/collections"] = httpx.ConnectError("connection refused")
    result = welip("collections", code=3)
    assert "welip up" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    welip("search", code=2)


def test_ctrl_c_says_that_the_job_goes_on(peer: Peer) -> None:
    peer.jobs.append({"id": job_id(0), "kind": "noop", "state": "running", "created_at": NOW, "input": {}})
    peer.answers["GET", f"/v1/jobs/{job_id(1)}"] = KeyboardInterrupt()
    result = welip("ask", "질문", code=130)
    assert f"welip job {job_id(1)} --follow" in result.stderr
    assert result.stdout == ""


def test_a_defect_is_one_sentence(peer: Peer) -> None:
    peer.answers["GET", "/v1/collections"] = ZeroDivisionError("boom")
    assert "unexpected ZeroDivisionError: boom" in welip("collections", code=3).stderr


def test_the_server_is_found_by_option_environment_or_the_running_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WELIP_URL", raising=False)
    assert Session().resolve_url() is None
    write(tmp_path / ".welip/gateway.url", "http://127.0.0.1:4321\n")
    assert Session().resolve_url() == "http://127.0.0.1:4321"
    assert Session(url="http://x").resolve_url() == "http://x"
    monkeypatch.setenv("WELIP_URL", "http://y")
    with Session().connect() as client:
        assert client.url == "http://y"
