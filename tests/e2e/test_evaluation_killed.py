"""An evaluation whose worker is killed in the middle finds the same as one that nobody disturbed."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.sample import documents, questions
from producers.client.sync import Client
from tests.e2e.processes import Up, until

WITHIN_S = 240
FEW = questions()[:16]


def items() -> list[dict[str, Any]]:
    return [
        {
            "id": question["id"],
            "question": question["question"],
            "reference": question.get("answer"),
            "relevant": [question["document_id"]] if question["document_id"] else [],
            "answerable": bool(question["document_id"]),
        }
        for question in FEW
    ]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(one) for name, one in value.items() if name != "latency_ms"}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def figures(client: Client, http: httpx.Client, job: str) -> Any:
    """Everything that the report tells, but for times."""
    found = client.evaluation(job, timeout=WITHIN_S)
    return without_times(http.get(f"/v1/files/{found.figures}/content").json())


@pytest.mark.timeout(600)
def test_the_report_of_a_disturbed_run_is_the_same_but_for_times(tmp_path: Path) -> None:
    with Up(tmp_path / "data") as up, up.client() as client, httpx.Client(base_url=up.url, timeout=60) as http:
        [indexed] = client.index_documents("ko", documents())
        assert client.wait(indexed.id, timeout=WITHIN_S).state == "succeeded"
        fresh = {"reuse": False}
        undisturbed = figures(client, http, client.evaluate(items(), "ko", settings=fresh).id)
        job = client.evaluate(items(), "ko", settings=fresh)

        def in_the_middle() -> bool:
            seen = client.job(job.id)
            return seen.ended or (seen.children is not None and seen.children.ended >= 3)

        until(in_the_middle, "some questions are answered", within_s=WITHIN_S)
        up.child("consumers").kill()
        assert figures(client, http, job.id) == undisturbed
        assert undisturbed["items"]["succeeded"] == len(FEW)
        answered = [child.id for child in client.iterate_jobs(parent=job.id)]
        assert len(answered) == len(FEW)
