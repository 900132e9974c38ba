"""`/v1/jobs` as the contract describes it: submitting, reading, listing, cancelling, following, results."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from producers.client.sync import Client
from schemas.jobs import JobPage, JobView
from tests.e2e.processes import until

NOOP = {"kind": "noop", "input": {}}
Json = dict[str, Any]


def submit(http: httpx.Client, body: Json = NOOP, **headers: str) -> Json:
    answer = http.post("/v1/jobs", json=body, headers={"Prefer": "wait=30", **headers})
    assert answer.is_success, answer.text
    found: Json = answer.json()
    return found


def noop(**fields: Any) -> Json:
    return {"kind": "noop", "input": fields}


def problem(answer: httpx.Response) -> tuple[int, str, str | None]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["title"]
    assert len(body["detail"]) > 10
    assert body["error"]["message"].startswith(body["detail"])
    assert (body["error"]["code"], body["error"]["param"]) == (body["code"], body["field"])
    return answer.status_code, body["code"], body["field"]


class TestSubmitting:
    def test_an_accepted_job_is_queued_and_has_a_place(self, http: httpx.Client) -> None:
        answer = http.post("/v1/jobs", json={**NOOP, "metadata": {"what": "시험"}, "lane": "bulk", "max_attempts": 2})
        assert answer.status_code == 202
        job = answer.json()
        assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
        assert (job["object"], job["state"], job["attempt"], job["max_attempts"]) == ("job", "queued", 0, 2)
        assert (job["metadata"], job["lane"]) == ({"what": "시험"}, "bulk")
        assert abs(datetime.fromisoformat(job["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
        assert job["created_at"].endswith("Z")
        seen = http.get(answer.headers["location"]).json()
        assert JobView.model_validate(seen).metadata == job["metadata"]
        assert set(seen) == set(job)

    def test_prefer_wait_answers_when_the_job_ends(self, http: httpx.Client) -> None:
        answer = http.post("/v1/jobs", json=noop(sleep_s=0.3), headers={"Prefer": "respond-async, wait=60"})
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert answer.headers["preference-applied"] == "wait=60"
        assert answer.headers["location"] == answer.json()["links"]["self"]
        assert answer.json()["result"] == {}

    def test_prefer_wait_answers_at_the_latest_when_its_time_is_up(self, http: httpx.Client) -> None:
        began = time.monotonic()
        answer = http.post("/v1/jobs", json=noop(sleep_s=600), headers={"Prefer": "wait=1"})
        assert answer.status_code == 202
        assert answer.json()["state"] != "succeeded"
        looked = http.get(answer.headers["location"], headers={"Prefer": "wait=1"})
        assert (looked.status_code, looked.json()["state"] in ("queued", "running")) == (200, True)
        assert time.monotonic() - began >= 2
        assert http.post(answer.json()["links"]["cancel"]).status_code == 202

    def test_the_same_key_and_body_give_the_first_job(self, http: httpx.Client) -> None:
        key = {"Idempotency-Key": "first"}
        first = http.post("/v1/jobs", json=noop(steps=1), headers=key)
        again = http.post("/v1/jobs", content=b'{ "input":{"steps":1}, "kind" : "noop"}', headers=JSON | key)
        assert (first.status_code, again.status_code) == (202, 200)
        assert again.json()["id"] == first.json()["id"]
        assert again.headers["location"] == first.headers["location"]

    @pytest.mark.parametrize("body", [noop(steps=2), {**NOOP, "max_attempts": 5}], ids=["a value", "a default said"])
    def test_the_same_key_with_another_body_is_a_conflict(self, http: httpx.Client, body: Any) -> None:
        key = {"Idempotency-Key": "reused"}
        http.post("/v1/jobs", json=NOOP, headers=key)
        other = http.post("/v1/jobs", json=body, headers=key)
        assert problem(other) == (409, "idempotency_key_reused", "Idempotency-Key")

    async def test_twenty_equal_submissions_at_once_make_one_job(self, async_http: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(
            *(async_http.post("/v1/jobs", json=NOOP, headers={"Idempotency-Key": "at-once"}) for _ in range(20))
        )
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]

    def test_a_job_nobody_takes_in_time_expires(self, http: httpx.Client) -> None:
        # It expires before a message can reach a worker.
        job = submit(http, {**NOOP, "expires_in_s": 0.000001})
        assert (job["state"], job["error"]["code"], job["error"]["retryable"]) == ("failed", "expired", False)

    def test_a_stage_that_runs_too_long_is_tried_again_and_fails(self, http: httpx.Client) -> None:
        job = submit(http, {**noop(sleep_s=60), "timeout_s": 0.2, "max_attempts": 2})
        assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 2, "timeout")


JSON = {"Content-Type": "application/json"}


class TestListing:
    def test_pages_are_newest_first_and_complete(self, http: httpx.Client) -> None:
        made = [submit(http, {**NOOP, "metadata": {"n": str(n)}})["id"] for n in range(5)]
        seen: list[str] = []
        after: Json = {}
        while not set(made) <= set(seen):
            page = http.get("/v1/jobs", params={"kind": "noop", "state": "succeeded", "limit": 2, **after}).json()
            assert JobPage.model_validate(page).has_more or set(made) <= {*seen, *(j["id"] for j in page["data"])}
            assert len(page["data"]) == 2
            seen += [job["id"] for job in page["data"]]
            after = {"after": seen[-1]}
        assert seen == sorted(seen, reverse=True)
        assert [id for id in seen if id in made] == made[::-1]

    def test_the_last_page_says_so(self, http: httpx.Client) -> None:
        oldest = submit(http)["id"]
        while (page := http.get("/v1/jobs", params={"after": oldest, "limit": 100}).json())["data"]:
            oldest = page["data"][-1]["id"]
        assert page == {"data": [], "has_more": False}

    def test_filters_leave_only_what_fits(self, http: httpx.Client) -> None:
        submit(http)
        page = http.get("/v1/jobs", params={"kind": "indexing", "state": "failed"}).json()["data"]
        assert all((job["kind"], job["state"]) == ("indexing", "failed") for job in page)
        assert http.get("/v1/jobs", params={"parent": "job_" + "0" * 32}).json()["data"] == []


class TestCancelling:
    def test_a_running_job_ends_as_cancelled(self, http: httpx.Client, client: Client) -> None:
        job = http.post("/v1/jobs", json=noop(sleep_s=600)).json()
        until(lambda: client.job(job["id"]).state == "running", "it runs")
        answer = http.post(job["links"]["cancel"])
        assert answer.status_code == 202
        ended = client.wait(job["id"], timeout=120)
        assert (ended.state, ended.result) == ("cancelled", None)

    def test_a_job_that_has_ended_cannot_be_cancelled(self, http: httpx.Client) -> None:
        job = submit(http)
        assert problem(http.post(job["links"]["cancel"])) == (409, "job_ended", "id")
        assert http.get(job["links"]["self"]).json()["state"] == "succeeded"


def follow(http: httpx.Client, job: Json, last: int | None = None, **params: int) -> Iterator[Json]:
    """The bodies of the events, each checked against the line that names its id and type."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with connect_sse(http, "GET", job["links"]["events"], headers=headers, params=params) as source:
        assert source.response.status_code == 200
        for sse in source.iter_sse():
            event = json.loads(sse.data)
            assert (str(event["id"]), event["type"], event["job"]) == (sse.id, sse.event, job["id"])
            yield event


class TestFollowing:
    def test_a_job_is_followed_from_its_submission_to_its_end(self, http: httpx.Client) -> None:
        job = http.post("/v1/jobs", json=noop(sleep_s=1.2, steps=3)).json()
        found = list(follow(http, job))
        ids = [event["id"] for event in found]
        assert ids[0] == 0
        assert ids == sorted(set(ids))
        assert [e["data"]["state"] for e in found if e["type"] == "state"] == ["queued", "running", "succeeded"]
        progress = [(e["data"]["done"], e["data"]["total"]) for e in found if e["type"] == "progress"]
        assert progress[-1] == (3, 3)
        assert progress == sorted(progress)

    def test_following_resumes_without_a_gap(self, http: httpx.Client) -> None:
        job = http.post("/v1/jobs", json=noop(sleep_s=1, steps=2)).json()
        first = follow(http, job)
        seen = [next(first), next(first)]
        first.close()  # the connection breaks off
        seen += follow(http, job, last=seen[-1]["id"])
        assert seen == list(follow(http, job))

    def test_it_resumes_at_any_event_also_after_the_end(self, http: httpx.Client) -> None:
        job = submit(http, noop(steps=3))
        whole = list(follow(http, job))
        assert len(whole) >= 4
        for position, event in enumerate(whole):
            assert list(follow(http, job, last=event["id"])) == whole[position + 1 :]
            assert list(follow(http, job, after=event["id"])) == whole[position + 1 :]
        assert list(follow(http, job, after=-1)) == whole

    @pytest.mark.parametrize("last", ["nonsense", "-5", "9" * 5000, "²"])
    def test_an_unknown_last_event_id_starts_from_the_beginning(self, http: httpx.Client, last: str) -> None:
        job = submit(http)
        with connect_sse(http, "GET", job["links"]["events"], headers={"Last-Event-ID": last.encode("latin-1")}) as s:  # type: ignore[dict-item]
            assert [sse.id for sse in s.iter_sse()][:1] == ["0"]

    def test_an_id_beyond_every_event_gives_an_empty_stream(self, http: httpx.Client) -> None:
        assert list(follow(http, submit(http), last=2**63 + 5)) == []

    def test_the_client_follows_too(self, client: Client) -> None:
        job = client.submit("noop", {"sleep_s": 0.2})
        assert [event.data.get("state") for event in client.events(job.id)] == ["queued", "running", "succeeded"]


class TestResults:
    def test_there_is_none_before_the_end(self, http: httpx.Client) -> None:
        job = http.post("/v1/jobs", json=noop(sleep_s=600)).json()
        assert problem(http.get(job["links"]["result"])) == (409, "job_not_finished", "id")
        http.post(job["links"]["cancel"])
        until(lambda: http.get(job["links"]["self"]).json()["state"] == "cancelled", "it is cancelled")
        assert problem(http.get(job["links"]["result"])) == (409, "job_cancelled", "id")

    def test_a_small_result_is_json(self, http: httpx.Client) -> None:
        job = submit(http, {"kind": "indexing", "input": {"collection": "results", "documents": [DOCUMENT]}})
        answer = http.get(job["links"]["result"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == job["result"]
        assert answer.json()["documents"]["added"] == 1

    def test_a_failed_job_gives_its_reason_instead(self, http: httpx.Client) -> None:
        job = submit(http, {"kind": "inference", "input": {"collection": "never-made", "question": "무엇?"}})
        assert problem(http.get(job["links"]["result"])) == (409, "job_failed", "id")

    def test_a_large_result_is_a_file_served_in_ranges(self, http: httpx.Client, client: Client) -> None:
        # 900 refusals of about 150 bytes of JSON each.
        missing = [{"id": f"missing-{n}", "file": "file_" + "0" * 32} for n in range(900)]
        job = submit(http, {"kind": "indexing", "input": {"collection": "results", "documents": missing}})
        assert job["state"] == "succeeded"
        assert list(job["result"]) == ["file"]
        whole = http.get(job["links"]["result"])
        assert (whole.status_code, whole.headers["content-type"]) == (200, "application/json")
        assert len(whole.content) > 64 * 1024
        assert len(whole.json()["errors"]) == whole.json()["documents"]["failed"] == 900
        part = http.get(job["links"]["result"], headers={"Range": "bytes=10-99"})
        assert (part.status_code, part.content) == (206, whole.content[10:100])
        assert part.headers["content-range"] == f"bytes 10-99/{len(whole.content)}"
        assert client.result(job["id"]) == whole.json()
        assert client.file(job["result"]["file"]).bytes == len(whole.content)


DOCUMENT = {"id": "d", "text": "고래는 포유류이다."}
