"""With `WELIP_AUTH=on` a key names a tenant, and nothing that belongs to one tenant is visible to another."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from subprocess import run
from typing import Any

import httpx
import pytest

import gateway.http.auth
from gateway.http.auth import Keys
from gateway.http.errors import Unauthenticated
from infra.postgres.database import Database
from infra.postgres.keys import create_key, list_keys, revoke_key
from infra.settings import GatewaySettings
from producers.client.errors import ApiError, JobFailed
from producers.client.sync import Client
from tests.e2e.processes import Up, cli, environment
from tests.e2e.test_jobs_api import problem

COLLECTION = "shared-name"


def new_key(url: str, tenant: str) -> str:
    made = cli("key", "create", "--tenant", tenant, "--postgres", url, "--json")
    assert made.returncode == 0, made.stderr
    key: str = json.loads(made.stdout)["key"]
    return key


@dataclass(frozen=True)
class Owner:
    """A tenant that has one thing of each kind."""

    client: Client
    http: httpx.Client
    job: str
    large_job: str
    file: str
    webhook: str
    delivery: str
    letter: str
    upload: str
    batch: str


@pytest.fixture(scope="module")
def owners(guarded: Up, database_of_guarded: str) -> Iterator[tuple[Owner, Owner]]:
    made: list[Owner] = []
    for tenant in ("ours", "theirs"):
        key = new_key(database_of_guarded, tenant)
        client = Client(guarded.url, key)
        http = httpx.Client(base_url=guarded.url, headers={"Authorization": f"Bearer {key}"}, timeout=120)
        document = {"id": "d", "text": f"고래는 {tenant}의 포유류이다."}
        job = client.submit("indexing", {"collection": COLLECTION, "documents": [document]}, wait_s=60)
        missing = [{"id": f"missing-{n}", "file": "file_" + "0" * 32} for n in range(900)]
        large = client.submit("indexing", {"collection": COLLECTION, "documents": missing}, wait_s=60)
        assert large.result is not None
        assert list(large.result) == ["file"]
        file = client.upload(tenant.encode())
        webhook = client.webhooks.create("https://r.example/", events=["job.cancelled"])
        delivery = client.webhooks.send_test(webhook.id)
        client.submit("noop", {"sleep_s": 60}, timeout_s=0.1, max_attempts=1, wait_s=60)
        [letter] = client.dead.list().data
        announced = {"filename": "a.txt", "purpose": "documents", "bytes": 3, "mime_type": "text/plain"}
        upload = http.post("/v1/uploads", json=announced).json()["id"]
        line = {"custom_id": "a", "method": "POST", "url": "/v1/jobs", "body": {"kind": "noop", "input": {}}}
        lines = client.upload(json.dumps(line).encode(), purpose="batch")
        asked = {"input_file_id": lines.id, "endpoint": "/v1/jobs", "completion_window": "24h"}
        batch = http.post("/v1/batches", json=asked).json()["id"]
        ids = (job.id, large.id, file.id, webhook.id, delivery.id, letter.id, upload, batch)
        made.append(Owner(client, http, *ids))
    yield made[0], made[1]
    for owner in made:
        owner.client.close()
        owner.http.close()


def named(path: str, job: str, owner: Owner) -> str:
    """The path of one of the owner's things."""
    ids = {
        "jobs": job,
        "files": owner.file,
        "webhooks": owner.webhook,
        "dead": owner.letter,
        "collections": "only-ours",
        "uploads": owner.upload,
        "batches": owner.batch,
    }
    id = owner.delivery if path.startswith("/v1/webhooks/deliveries/") else ids[path.split("/")[2]]
    return path.replace("{id}", id).replace("{name}", "ours")


OF_THE_DEPLOYMENT = ("/v1/models/",)
"""Routes whose things belong to no tenant: everybody may read them. Adapters: `test_adapters_registered.py`.
Aliases: `test_aliases.py`."""

BODIES = {
    ("POST", "/v1/collections/{name}/search"): {"query": "소나무"},
    ("PATCH", "/v1/batches/{id}"): {"weight": 2},
    ("PATCH", "/v1/jobs/{id}"): {"weight": 2},
    ("PATCH", "/v1/collections/{name}"): {"settings": {"sparse": {"k1": 1}}},
    ("PATCH", "/v1/webhooks/{id}"): {"enabled": False},
    ("POST", "/v1/uploads/{id}/complete"): {"part_ids": ["part_" + "0" * 32]},
    ("POST", "/v1/webhooks/{id}/replay"): {"since": "2026-01-01T00:00:00Z"},
}
"""The bodies for routes that need one."""


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    """The method and path of every route that needs a key."""
    return [
        (method.upper(), path)
        for path, found in document["paths"].items()
        for method in found
        if path.startswith("/v1/")
    ]


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer welip_wrong", "Basic d2VsaXA6eA==", "welip_wrong", "Bearer \xe9"]
)
def test_without_a_valid_key_every_route_is_closed(guarded: Up, authorization: str) -> None:
    headers = {b"Authorization": authorization.encode("latin-1")} if authorization else {}
    with httpx.Client(base_url=guarded.url) as http:
        found = operations(http.get("/openapi.json").json())
        assert len(found) > 10
        for method, path in found:
            answer = http.request(method, path.replace("{id}", "x").replace("{name}", "x"), headers=headers, json={})
            assert problem(answer) == (401, "unauthenticated", "Authorization"), (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "welip_wrong" not in answer.text


def test_what_watches_the_process_needs_no_key(guarded: Up) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/asyncapi"):
        assert httpx.get(f"{guarded.url}{path}").status_code == 200


def test_no_route_gives_or_takes_anything_of_another_tenant(owners: tuple[Owner, Owner]) -> None:
    ours, theirs = owners
    mine = {"id": "only-ours", "text": "소나무는 늘푸른나무이다."}
    assert ours.client.submit("indexing", {"collection": "ours", "documents": [mine]}, wait_s=60).state == "succeeded"
    tried = 0
    for method, path in operations(ours.http.get("/openapi.json").json()):
        if "{" not in path or path.startswith(OF_THE_DEPLOYMENT):
            continue
        for job in (ours.job, ours.large_job):
            body = BODIES.get((method, path))
            answer = theirs.http.request(method, named(path, job, ours), json=body)
            status, code, _ = problem(answer)
            assert (status, code.endswith("_not_found")) == (404, True), (method, path, answer.text)
            tried += 1
    assert tried > 15
    assert ours.client.job(ours.job).state == "succeeded"
    assert ours.client.file(ours.file).filename == "upload"
    assert ours.client.dead.show(ours.letter).requeued_at is None
    assert ours.client.webhooks.endpoint(ours.webhook).enabled
    assert ours.client.webhooks.delivery(ours.delivery).endpoint == ours.webhook
    assert ours.client.search("ours", "소나무")[0].document_id == "only-ours"
    assert ours.client.collection("ours").settings["sparse"]["k1"] == 0.6


def test_lists_hold_ones_own_only(owners: tuple[Owner, Owner]) -> None:
    ours, theirs = owners
    for mine, other in ((ours, theirs), (theirs, ours)):
        jobs = {job.id for job in mine.client.iterate_jobs()}
        assert mine.job in jobs
        assert not jobs & {other.job, other.large_job}
        files = {file.id for file in mine.client.files(limit=100).data}
        assert mine.file in files
        assert other.file not in files
        assert mine.client.jobs(parent=other.job).data == []
        assert [endpoint.id for endpoint in mine.client.webhooks.endpoints()] == [mine.webhook]
        assert [delivery.id for delivery in mine.client.webhooks.iterate_deliveries()] == [mine.delivery]
        assert mine.client.webhooks.deliveries(job=other.job).data == []
        assert [letter.id for letter in mine.client.dead.list().data] == [mine.letter]
        assert mine.client.collection(COLLECTION).documents == 1


def test_the_same_name_is_another_collection(owners: tuple[Owner, Owner]) -> None:
    for owner, tenant in zip(owners, ("ours", "theirs"), strict=True):
        [hit] = owner.client.search(COLLECTION, "포유류")
        assert hit.text == f"고래는 {tenant}의 포유류이다."
        citations = owner.client.ask(COLLECTION, "고래는 무엇인가요?").citations
        assert all(tenant in citation.text for citation in citations)


def test_the_same_idempotency_key_is_another_job(owners: tuple[Owner, Owner]) -> None:
    ours, theirs = (owner.client.submit("noop", {}, idempotency_key="one") for owner in owners)
    assert ours.id != theirs.id


def test_a_file_of_another_tenant_cannot_be_indexed(owners: tuple[Owner, Owner]) -> None:
    ours, theirs = owners
    stolen = {"id": "stolen", "file": ours.file}
    job = theirs.client.submit("indexing", {"collection": "loot", "documents": [stolen]}, wait_s=60)
    assert job.result is not None
    assert [error["code"] for error in job.result["errors"]] == ["file_not_found"]
    corpus = {"file": ours.file, "format": "tsv"}
    job = theirs.client.submit("indexing", {"collection": "loot", "corpus": corpus}, wait_s=60)
    assert job.error is not None
    assert job.error.code == "file_not_found"
    with pytest.raises(JobFailed) as failure:
        theirs.client.ask("loot", "무엇?")
    assert failure.value.code == "collection_empty"


def test_only_an_operator_s_key_sees_what_belongs_to_no_tenant(
    guarded: Up, owners: tuple[Owner, Owner], database_of_guarded: str
) -> None:
    made = cli("key", "create", "--tenant", "ops", "--operator", "--postgres", database_of_guarded, "--json")
    key = json.loads(made.stdout)
    assert key["operator"] is True
    listed = json.loads(cli("key", "list", "--postgres", database_of_guarded, "--json").stdout)
    assert {row["tenant"]: row["operator"] for row in listed}["ops"] is True
    assert not any(row["operator"] for row in listed if row["tenant"] != "ops")
    with Client(guarded.url, key["key"]) as operator:
        assert operator.dead.list(source="message").data == []
        assert operator.dead.list().data == [], "the letters of other tenants' jobs stay theirs"
    with pytest.raises(ApiError) as refusal:
        owners[0].client.dead.list(source="message")
    assert (refusal.value.status, refusal.value.code, refusal.value.field) == (403, "forbidden", "source")
    assert "--operator" in str(refusal.value.remedy)


def test_a_revoked_key_opens_nothing(guarded: Up, database_of_guarded: str) -> None:
    key = new_key(database_of_guarded, "gone")
    listed = json.loads(cli("key", "list", "--postgres", database_of_guarded, "--json").stdout)
    [id] = [row["id"] for row in listed if row["tenant"] == "gone"]
    assert key not in json.dumps(listed)
    assert cli("key", "revoke", id, "--postgres", database_of_guarded).returncode == 0
    with Client(guarded.url, key) as client, pytest.raises(ApiError) as refusal:
        client.collections()
    assert (refusal.value.status, refusal.value.code) == (401, "unauthenticated")
    again = cli("key", "revoke", id, "--postgres", database_of_guarded)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


async def test_a_key_that_was_used_is_forgotten_after_its_revocation(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.http.auth, "REMEMBER_S", 0.3)
    keys = Keys(database, GatewaySettings.model_validate({"WELIP_AUTH": "on"}))
    key = await asyncio.to_thread(create_key, database_url, "gone", "")
    assert await keys.tenant(f"bearer  {key} ") == "gone"
    [row] = await asyncio.to_thread(list_keys, database_url)
    assert await asyncio.to_thread(revoke_key, database_url, str(row["id"]))

    async def refused() -> None:
        while True:
            await keys.tenant(f"Bearer {key}")
            await asyncio.sleep(0.02)

    with pytest.raises(Unauthenticated):
        await asyncio.wait_for(refused(), 60)


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org"])
def test_authentication_off_is_for_loopback_only(host: str) -> None:
    settings = {"WELIP_AUTH": "off", "WELIP_GATEWAY_HOST": host, "WELIP_LOG_FORMAT": "console"}
    command = [sys.executable, "-m", "gateway"]
    said = run(command, env=environment(**settings), capture_output=True, text=True, timeout=120)
    assert said.returncode == 2
    assert "WELIP_AUTH=off is for loopback only" in said.stderr
