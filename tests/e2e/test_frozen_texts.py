"""A document that freezes its reader: searches continue, and cancelling its job ends the work.

Every text that ever froze a reader was one that nobody had foreseen, so the reader is frozen from outside, by SIGSTOP.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.processes import Up, until
from tests.freezing import freeze, thaw

KINDS = ["welip-parse-i", "welip-analyse-i"]
"""The names of processes that read the documents of interactive jobs; the kernel keeps 15 characters."""


def submitted(http: httpx.Client, collection: str, document: str, **fields: Any) -> str:
    documents = [{"id": document, "text": f"한라산은 높다. {document}"}]
    body = {"kind": "indexing", "input": {"collection": collection, "documents": documents}, **fields}
    answer = http.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(http: httpx.Client, job: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        seen: dict[str, Any] = http.get(f"/v1/jobs/{job}").json()
        return seen if seen["state"] in ("succeeded", "failed", "cancelled") else None

    return until(found, f"{job} ends")


def readers(up: Up, kind: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(up.popen.pid).children(recursive=True):
        try:
            if process.name().startswith(kind):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def reads(http: httpx.Client, job: str) -> bool:
    """Whether a worker reads the job's documents."""
    parts = http.get("/v1/jobs", params={"parent": job}).json()["data"]
    return any((part["state"], part["stage"]) == ("running", "prepare") for part in parts)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@pytest.fixture(params=KINDS)
def frozen(
    request: pytest.FixtureRequest, up: Up, http: httpx.Client, collection: str
) -> Iterator[list[psutil.Process]]:
    """Freeze every process of one kind while it waits for its next document."""
    assert ended(http, submitted(http, collection, "first"))["state"] == "succeeded"
    processes = readers(up, request.param)
    assert processes
    for process in processes:
        freeze(process.pid)
    yield processes
    for process in processes:
        if process.is_running():
            thaw(process.pid)


def test_searches_go_on_and_cancelling_kills_the_reader(
    http: httpx.Client, collection: str, frozen: list[psutil.Process]
) -> None:
    jobs = [submitted(http, collection, f"frozen-{number}") for number in range(len(frozen))]
    for job in jobs:
        until(lambda job=job: reads(http, job), f"a part of {job} is read")
    for _ in range(3):
        answer = http.post(f"/v1/collections/{collection}/search", json={"query": "한라산"})
        assert answer.status_code == 200
        assert answer.json()["data"]
    for job in jobs:
        assert http.post(f"/v1/jobs/{job}/cancel").status_code in (200, 202)
    assert {ended(http, job)["state"] for job in jobs} == {"cancelled"}
    until(lambda: gone(frozen), "the readers are gone")
    assert ended(http, submitted(http, collection, "after"))["state"] == "succeeded"


def test_a_time_limit_kills_the_reader(http: httpx.Client, collection: str, frozen: list[psutil.Process]) -> None:
    jobs = [submitted(http, collection, f"late-{number}", timeout_s=5, max_attempts=1) for number in range(len(frozen))]
    for job in jobs:
        ended(http, job)
    until(lambda: gone(frozen), "the readers are gone")
    assert ended(http, submitted(http, collection, "after"))["state"] == "succeeded"


def test_a_client_that_leaves_ends_the_analysis_of_its_question(up: Up, http: httpx.Client, collection: str) -> None:
    assert ended(http, submitted(http, collection, "first"))["state"] == "succeeded"
    search = f"/v1/collections/{collection}/search"
    assert http.post(search, json={"query": "한라산"}).json()["data"]
    processes = readers(up, "welip-question")
    for process in processes:
        freeze(process.pid)
    try:
        for left in range(len(processes)):
            with pytest.raises(httpx.ReadTimeout):
                http.post(search, json={"query": "한라산"}, timeout=httpx.Timeout(120, read=1))
            until(lambda left=left: sum(gone([one]) for one in processes) > left, "its process is gone")
    finally:
        for process in processes:
            if process.is_running():
                thaw(process.pid)
    assert http.post(search, json={"query": "한라산"}).json()["data"]
