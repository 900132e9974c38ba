"""The worker is killed while a batch is checked, while its lines are done, and while its files are written."""

import json
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.processes import Up, until

pytestmark = pytest.mark.timeout(600)  # each wait has a deadline of its own
QUICK: Final = {
    # Here the test itself kills, so no part of the work must be taken for the killer.
    "WELIP_RESCUE_PROOF": "1000",
    "WELIP_RESCUE_GONE": "3",
    "WELIP_RESCUE_EVERY": "0.2",
}
LINES: Final = 4_000


def kill(up: Up, killed: set[int]) -> None:
    worker = up.child("consumers")
    worker.kill()
    killed.add(worker.pid)


def test_a_batch_survives_kills_in_every_phase_and_has_each_line_once(stack_database: str, tmp_path: Path) -> None:
    ids = [f"q{n}" for n in range(LINES)]
    body = {"kind": "noop", "input": {}}
    lines = [{"custom_id": one, "method": "POST", "url": "/v1/jobs", "body": body} for one in ids]
    content = "\n".join(map(json.dumps, lines)).encode()
    killed: set[int] = set()
    phases: list[str] = []
    with (
        Up(tmp_path / "data", "--postgres", stack_database, **QUICK) as up,
        httpx.Client(base_url=up.url, timeout=120) as http,
    ):
        file = http.post("/v1/files", files={"file": ("a.jsonl", content)}, data={"purpose": "batch"}).json()
        asked = {"input_file_id": file["id"], "endpoint": "/v1/jobs", "completion_window": "24h"}
        batch = http.post("/v1/batches", json=asked).json()

        def job() -> dict[str, Any]:
            return http.get(f"/v1/jobs/{batch['job']}").json()  # type: ignore[no-any-return]

        def at_work(stage: str) -> str | None:
            """Whether a worker is at this stage: `now`; or `past` it, when it was too quick to be seen."""
            found = job()
            if found["stage"] != stage or found["children"] or found["finished_at"]:
                return "past" if found["children"] or found["finished_at"] else None
            return "now" if found["state"] == "running" else None

        if until(lambda: at_work("check"), "the lines are being checked") == "now":
            kill(up, killed)
            phases.append("check")

        def done() -> int:
            counts = http.get(f"/v1/batches/{batch['id']}").json()["request_counts"]
            return int(counts["completed"])

        until(lambda: up.child("consumers").pid not in killed, "the worker is started again")
        until(lambda: done() > LINES // 10, "lines are being done")
        kill(up, killed)
        phases.append("lines")

        def writing() -> dict[str, Any] | None:
            found = job()
            live = found["stage"] == "assemble" and found["state"] == "running" and done() == LINES
            return found if live or found["finished_at"] else None

        until(lambda: up.child("consumers").pid not in killed, "the worker is started again")
        if not until(writing, "the files are being written", within_s=240)["finished_at"]:
            kill(up, killed)
            phases.append("assemble")

        def ended() -> dict[str, Any] | None:
            found = http.get(f"/v1/batches/{batch['id']}").json()
            return found if found["status"] in ("completed", "failed", "expired", "cancelled") else None

        whole = until(ended, "the batch ends", within_s=240)
        assert (whole["status"], whole["errors"], whole["error_file_id"]) == ("completed", None, None)
        assert whole["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
        output = http.get(f"/v1/files/{whole['output_file_id']}/content").text.splitlines()
        assert [json.loads(line)["custom_id"] for line in output] == ids
        files = http.get("/v1/files", params={"purpose": "batch_output"}).json()["data"]
        assert [one["id"] for one in files] == [whole["output_file_id"]], "a repeated try left a second file"
        children = job()["children"]
        assert (children["total"], children["succeeded"]) == (LINES, LINES)
    assert "lines" in phases, phases
