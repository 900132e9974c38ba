"""Batches of no-op jobs, for the benchmarks that send some."""

import json
import time

import httpx


def make(http: httpx.Client, lines: int, sleep_s: float = 0.0) -> str:
    """Upload lines that sleep for so long, and make a batch of them; its id."""
    body = {"kind": "noop", "input": {"sleep_s": sleep_s} if sleep_s else {}}
    content = "\n".join(
        json.dumps({"custom_id": f"q{n}", "method": "POST", "url": "/v1/jobs", "body": body}) for n in range(lines)
    )
    file = http.post("/v1/files", files={"file": ("lines.jsonl", content)}, data={"purpose": "batch"}).json()
    asked = {"input_file_id": file["id"], "endpoint": "/v1/jobs", "completion_window": "24h"}
    return str(http.post("/v1/batches", json=asked).json()["id"])


def wait_until_completed(http: httpx.Client, batch: str, *, every_s: float = 0.1) -> None:
    """Wait until a small batch is completed."""
    deadline = time.monotonic() + 120
    while http.get(f"/v1/batches/{batch}").json()["status"] != "completed":
        if time.monotonic() > deadline:
            raise RuntimeError("a small batch was not completed within 120 s")
        time.sleep(every_s)
