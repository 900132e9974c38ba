"""`/v1/dead` in this process, on real Postgres: every response it has, for owners, operators and strangers."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from infra.postgres.keys import digest
from infra.postgres.queries import keys
from infra.settings import (
    PostgresSettings,
)
from producers.client.async_ import AsyncClient
from producers.client.errors import ApiError
from schemas.dead_letters import DeadLetterDetail, DeadLetterPage, ManyDropped, ManyRequeued, Requeued
from tests.integration.gateways import gateway_app
from tests.integration.jobs import Jobs, new_job
from tests.integration.test_dead_letters import dead_job, die, keep, message

Json = dict[str, Any]
OWNER, OTHER, OPERATOR = "owner", "other", "operator"


class Api:
    """The gateway, called with one key or another."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ask(self, method: str, path: str, status: int, *, who: str = OWNER, body: Json | None = None) -> Json:
        answer = await self._http.request(method, path, json=body, headers={"Authorization": f"Bearer {who}"})
        assert answer.status_code == status, answer.text
        found: Json = answer.json()
        if status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        if status == 202:
            assert answer.headers["location"] == f"/v1/jobs/{found['letter']['requeued_as']}"
        return found

    async def listed(self, query: str = "", *, who: str = OWNER) -> list[Json]:
        page = await self.ask("GET", f"/v1/dead?{query}", 200, who=who)
        DeadLetterPage.model_validate(page)
        letters: list[Json] = page["data"]
        return letters


@pytest.fixture
async def transport(jobs: Jobs, postgres: PostgresSettings, tmp_path: Path) -> AsyncIterator[httpx.ASGITransport]:
    app = gateway_app(postgres, tmp_path, auth="on")
    async with jobs.database.connection() as connection:
        for name, tenant in ((OWNER, "default"), (OTHER, "another"), (OPERATOR, "ops")):
            await keys.create(connection, uuid4(), tenant, name, name, digest(name), name == OPERATOR)
    async with app.router.lifespan_context(app):
        await app.state.services.database.opened.wait()
        yield httpx.ASGITransport(app)


@pytest.fixture
async def api(transport: httpx.ASGITransport) -> AsyncIterator[Api]:
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield Api(http)


@pytest.fixture
async def client(transport: httpx.ASGITransport) -> AsyncIterator[AsyncClient]:
    async with AsyncClient("http://gateway", OWNER, transport=transport, retry_for_s=0) as made:
        yield made


def dead_id(letter: UUID) -> str:
    return f"dead_{letter.hex}"


async def test_a_letter_is_shown_with_its_reason_and_its_payload(jobs: Jobs, api: Api) -> None:
    job_id, letter = await dead_job(jobs, input='{"question": "무엇\\u0000?"}')
    [listed] = await api.listed()
    shown = await api.ask("GET", f"/v1/dead/{dead_id(letter)}", 200)
    assert DeadLetterDetail.model_validate(shown).payload == {"question": "무엇\0?"}
    assert {name: shown[name] for name in listed} == listed
    assert listed["id"] == dead_id(letter)
    assert (listed["source"], listed["job"], listed["kind"]) == ("job", f"job_{job_id.hex}", "noop")
    assert listed["error"] == {"code": "engine_overloaded", "message": "a NUL: \0", "retryable": True}
    assert (listed["reason"], listed["requeued_at"], shown["encoding"]) == ("engine_overloaded", None, "json")


async def test_pages_follow_on_and_the_words_of_filters_are_checked(jobs: Jobs, api: Api) -> None:
    letters = [dead_id((await dead_job(jobs))[1]) for _ in range(5)][::-1]
    page = await api.ask("GET", "/v1/dead?limit=3", 200)
    assert [one["id"] for one in page["data"]] == letters[:3]
    assert page["has_more"]
    assert [one["id"] for one in await api.listed(f"limit=3&after={letters[2]}")] == letters[3:]
    assert await api.listed("reason=timeout") == []
    for query in ("kind=%00", "reason=A", "source=other", "after=x", "limit=0"):
        assert (await api.ask("GET", f"/v1/dead?{query}", 422))["code"] == "invalid_input"


async def test_a_requeued_letter_gives_the_same_job_again(jobs: Jobs, api: Api) -> None:
    old, letter = await dead_job(jobs, metadata='{"a": "b"}')
    path = f"/v1/dead/{dead_id(letter)}/requeue"
    made = await api.ask("POST", path, 202)
    assert Requeued.model_validate(made).job is not None
    assert (made["job"]["state"], made["job"]["metadata"]) == ("queued", {"a": "b"})
    assert made["job"]["id"] == made["letter"]["requeued_as"] != f"job_{old.hex}"
    assert await api.ask("POST", path, 200) == made
    assert await api.listed() == []
    assert [one["requeued_as"] for one in await api.listed("requeued=true")] == [made["job"]["id"]]
    await jobs.fetch("DELETE FROM job WHERE id = $1", UUID(made["job"]["id"].removeprefix("job_")))
    assert (await api.ask("POST", path, 409))["code"] == "requeued_job_gone"


async def test_a_part_of_a_live_job_is_not_requeued(jobs: Jobs, api: Api) -> None:
    root, [child, _] = await jobs.parent(2)
    letter = await die(jobs, child)
    refusal = await api.ask("POST", f"/v1/dead/{dead_id(letter)}/requeue", 409)
    assert refusal["code"] == "job_not_finished"
    assert f"job_{root.hex}" in refusal["detail"]
    done = await api.ask("POST", "/v1/dead/requeue", 200, body={})
    assert (done["requeued"], done["jobs"], [one["code"] for one in done["refused"]]) == (0, [], ["job_not_finished"])


async def test_a_kind_that_is_gone_is_refused(jobs: Jobs, api: Api) -> None:
    _, letter = await dead_job(jobs, kind="gone")
    assert (await api.ask("POST", f"/v1/dead/{dead_id(letter)}/requeue", 409))["code"] == "unknown_kind"


async def test_many_are_requeued_page_by_page_and_siblings_once(jobs: Jobs, client: AsyncClient, api: Api) -> None:
    root, children = await jobs.parent(3)
    for child in children:
        await die(jobs, child)
    await jobs.resume(root)
    await jobs.end(root)
    for _ in range(120):
        await dead_job(jobs)
    live, [child, _] = await jobs.parent(2)
    await die(jobs, child)
    await dead_job(jobs, kind="gone")
    await dead_job(jobs, tenant="another")
    first = await client.dead.requeue_many()
    ManyRequeued.model_validate(first.model_dump())
    assert (first.requeued, len(first.jobs), len(first.refused), first.has_more) == (98, 98, 2, True)
    rest = await client.dead.requeue_many(after=first.after)
    assert (rest.requeued, len(rest.jobs), rest.refused, rest.has_more) == (25, 23, [], False)
    assert len({*first.jobs, *rest.jobs}) == 121
    again = await client.dead.requeue_many()
    assert (again.requeued, {one.code for one in again.refused}) == (0, {"job_not_finished", "unknown_kind"})
    assert len(await api.listed(who=OTHER)) == 1
    assert live


async def test_letters_are_dropped_one_by_one_and_many_at_once(jobs: Jobs, client: AsyncClient) -> None:
    for kind in ("noop", "noop", "gone"):
        await dead_job(jobs, kind=kind)
    requeued_job, requeued = await dead_job(jobs)
    await client.dead.requeue(dead_id(requeued))
    gone, second, first = (await client.dead.list()).data
    assert (await client.dead.drop(first.id)).deleted
    with pytest.raises(ApiError) as refusal:
        await client.dead.drop(first.id)
    assert (refusal.value.status, refusal.value.code) == (404, "dead_letter_not_found")
    dropped = await client.dead.drop_many(kind="noop")
    ManyDropped.model_validate(dropped.model_dump())
    assert (dropped.dropped, dropped.has_more) == (1, False)
    assert [one.id for one in (await client.dead.list()).data] == [gone.id]
    assert [one.id for one in (await client.dead.list(requeued=True)).data] == [dead_id(requeued), gone.id]
    assert {(await client.job(one.job or "")).state for one in (first, second, gone)} == {"failed"}
    assert (await client.job(f"job_{requeued_job.hex}")).state == "failed"


async def test_messages_are_for_operators(jobs: Jobs, api: Api) -> None:
    await keep(jobs, message())
    for method, path, body in (
        ("GET", "/v1/dead?source=message", None),
        ("POST", "/v1/dead/requeue", {"source": "message"}),
        ("POST", "/v1/dead/drop", {"source": "message"}),
    ):
        refusal = await api.ask(method, path, 403, body=body)
        assert (refusal["code"], refusal["field"]) == ("forbidden", "source")
        assert "--operator" in refusal["remedy"]
    [letter] = await api.listed("source=message", who=OPERATOR)
    assert (letter["topic"], letter["offset"], letter["bytes"]) == ("welip.noop.run.interactive", 7, 2)
    assert await api.listed(who=OPERATOR) == [letter]
    assert await api.listed() == []
    for method, path in (
        ("GET", f"/v1/dead/{letter['id']}"),
        ("POST", f"/v1/dead/{letter['id']}/requeue"),
        ("DELETE", f"/v1/dead/{letter['id']}"),
    ):
        assert (await api.ask(method, path, 404))["code"] == "dead_letter_not_found"
    assert (await api.ask("POST", "/v1/dead/drop", 200, body={"source": None}))["dropped"] == 0
    refusal = await api.ask("POST", f"/v1/dead/{letter['id']}/requeue", 409, who=OPERATOR)
    assert refusal["code"] == "message_unreadable"
    assert "no job loses anything" in refusal["detail"]
    done = await api.ask("POST", "/v1/dead/requeue", 200, who=OPERATOR, body={"source": "message"})
    assert [one["code"] for one in done["refused"]] == ["message_unreadable"]
    assert (await api.ask("DELETE", f"/v1/dead/{letter['id']}", 200, who=OPERATOR))["deleted"] is True
    assert await api.listed(who=OPERATOR) == []


@pytest.mark.parametrize(
    ("payload", "shown", "encoding"),
    [
        (b"\x00\xff", base64.b64encode(b"\x00\xff").decode(), "base64"),
        ("널\0".encode(), "널\0", "utf-8"),
        (b"", "", "utf-8"),
    ],
)
async def test_the_bytes_of_a_message_are_shown(
    jobs: Jobs, api: Api, payload: bytes, shown: str, encoding: str
) -> None:
    await keep(jobs, message(payload))
    [letter] = await api.listed(who=OPERATOR)
    found = await api.ask("GET", f"/v1/dead/{letter['id']}", 200, who=OPERATOR)
    assert (found["payload"], found["encoding"], found["bytes"]) == (shown, encoding, len(payload))


@pytest.mark.parametrize("tenant", ["ops", "someone"])
async def test_a_message_that_has_become_readable_summons_its_job(jobs: Jobs, api: Api, tenant: str) -> None:
    """Another tenant's job is not shown, not even to an operator."""
    job = new_job(tenant=tenant)
    await jobs.make(job)
    await jobs.fetch("DELETE FROM outbox")
    body = {"job_id": str(job.id), "kind": "noop", "stage": "run", "epoch": 0, "lane": "interactive"}
    payload = json.dumps(body).encode()
    await keep(jobs, message(payload, digest=hashlib.sha256(payload).digest(), reason="misplaced_message"))
    [letter] = await api.listed(who=OPERATOR)
    path = f"/v1/dead/{letter['id']}/requeue"
    done = await api.ask("POST", path, 202, who=OPERATOR) if tenant == "ops" else None
    if done is None:
        answer = await api._http.post(path, headers={"Authorization": f"Bearer {OPERATOR}"})
        assert (answer.status_code, "location" in answer.headers) == (202, False)
        done = answer.json()
    assert (done["job"] is None) == (tenant != "ops")
    assert done["letter"]["requeued_as"] == f"job_{job.id.hex}"
    assert await jobs.messages(job.id) == [("run", 0)]
    assert (await api.ask("POST", path, 200, who=OPERATOR))["letter"] == done["letter"]


async def test_a_message_whose_job_needs_no_summons_is_refused(jobs: Jobs, api: Api) -> None:
    job_id, _ = await jobs.running()
    body = {"job_id": str(job_id), "kind": "noop", "stage": "run", "epoch": 0, "lane": "interactive"}
    await keep(jobs, message(json.dumps(body).encode()))
    [letter] = await api.listed(who=OPERATOR)
    refusal = await api.ask("POST", f"/v1/dead/{letter['id']}/requeue", 409, who=OPERATOR)
    assert refusal["code"] == "job_not_queued"


@pytest.mark.parametrize("who", [OTHER, OPERATOR])
async def test_a_job_s_letter_is_nobody_else_s(jobs: Jobs, api: Api, who: str) -> None:
    _, letter = await dead_job(jobs)
    for method, path in (
        ("GET", f"/v1/dead/{dead_id(letter)}"),
        ("POST", f"/v1/dead/{dead_id(letter)}/requeue"),
        ("DELETE", f"/v1/dead/{dead_id(letter)}"),
    ):
        assert (await api.ask(method, path, 404, who=who))["code"] == "dead_letter_not_found"
    assert await api.listed(who=who) == []
    assert (await api.ask("POST", "/v1/dead/requeue", 200, who=who, body={}))["requeued"] == 0
    assert (await api.ask("POST", "/v1/dead/drop", 200, who=who, body={}))["dropped"] == 0
    assert len(await api.listed()) == 1


async def test_the_gauge_counts_what_waits_for_a_decision(jobs: Jobs, transport: httpx.ASGITransport) -> None:
    _, letter = await dead_job(jobs)
    await dead_job(jobs)
    await keep(jobs, message())
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        await http.post(f"/v1/dead/{dead_id(letter)}/requeue", headers={"Authorization": f"Bearer {OWNER}"})
        wanted = {'welip_dead_letters{source="job"} 1.0', 'welip_dead_letters{source="message"} 1.0'}
        async with asyncio.timeout(60):  # the gateway counts at most every two seconds
            while not wanted <= {*(await http.get("/metrics")).text.splitlines()}:
                await asyncio.sleep(0.05)
