"""What operators and documentation readers see: health, metrics, OpenAPI, AsyncAPI, and pages without internet."""

import re
from urllib.parse import urljoin

import httpx
import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from producers.client.sync import Client
from schemas.kinds.registry import routes
from tests.e2e.processes import Up, until


def test_health_and_readiness(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    ready = http.get("/readyz")
    assert ready.status_code == 200
    parts = ("postgres", "kafka", "blobs", "indexes")
    assert ready.json() == {"status": "ok", "dependencies": dict.fromkeys(parts, "ok")}


def samples(http: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    text = http.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_requests_jobs_and_queues(http: httpx.Client, client: Client) -> None:
    client.submit("noop", {}, wait_s=20)
    found = samples(http)
    names = {name for name, _ in found}
    assert names >= {
        "welip_http_requests_total",
        "welip_http_request_duration_seconds_bucket",
        "welip_jobs_submitted_total",
        "welip_queue_jobs",
        "welip_queue_age_seconds",
        "welip_running_jobs",
        "welip_outbox_messages",
        "welip_outbox_age_seconds",
        "welip_relay_messages_total",
    }
    for route in routes():
        labels = frozenset({("topic", route.topic), ("lane", route.lane.value)})
        assert found["welip_queue_jobs", labels] >= 0
    submitted = frozenset({("kind", "noop"), ("lane", "interactive")})
    assert found["welip_jobs_submitted_total", submitted] >= 1
    labelled = {dict(labels).get("route") for name, labels in found if name == "welip_http_requests_total"}
    assert "/v1/jobs" in labelled
    assert not any(re.search(r"job_[0-9a-f]{32}", str(route)) for route in labelled), "a label of each job"


def test_what_runs_is_in_the_gauges(http: httpx.Client, client: Client) -> None:
    labels = frozenset({("topic", "welip.noop.run.bulk"), ("lane", "bulk")})
    jobs = [client.submit("noop", {"sleep_s": 600}, lane="bulk") for _ in range(2)]
    until(lambda: samples(http)["welip_running_jobs", labels] == 2, "both run")
    for job in jobs:
        client.cancel(job.id)
    until(lambda: samples(http)["welip_running_jobs", labels] == 0, "both ended")


@pytest.mark.parametrize("page", ["/docs", "/asyncapi"])
def test_a_page_needs_nothing_from_the_internet(http: httpx.Client, up: Up, page: str) -> None:
    answer = http.get(page)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    linked = re.findall(r"""(?:src|href|url)\s*[:=]\s*['"]([^'"]+)['"]""", answer.text)
    assert linked
    for link in linked:
        address = urljoin(f"{up.url}{page}", link)
        assert address.startswith(up.url), f"{link} is elsewhere"
        assert http.get(address).status_code == 200, link


def test_the_openapi_document_is_valid_and_errors_are_problems(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    validate(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path.startswith("/v1"):
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
            if path.startswith("/v1"):
                assert {"401", "503"} <= set(operation["responses"]), (method, path)
                assert operation["security"], (method, path)


def test_the_asyncapi_document_describes_every_topic(http: httpx.Client) -> None:
    document = http.get("/asyncapi.json").json()
    assert document["asyncapi"] == "3.0.0"
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {route.topic for route in routes()}
    assert set(document["components"]["schemas"]["Summons"]["required"]) >= {"job_id", "kind", "stage", "epoch"}
    page = http.get("/asyncapi").text
    assert all(f"<code>{route.topic}</code>" in page for route in routes())
