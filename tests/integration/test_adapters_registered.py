"""Adapters from their upload to a worker's folder: real Postgres and object storage, the gateway in this process."""

import asyncio
import io
import json
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.adapters import AdapterFolder
from infra.blobs.folder import FolderBlobs
from infra.engines.adapters import CONFIG, WEIGHTS, checked
from infra.postgres.database import Database
from infra.postgres.queries import stored
from infra.settings import (
    LimitSettings,
    LoraSettings,
    PostgresSettings,
    RetentionSettings,
)
from producers.garbage import Garbage
from schemas.adapters import AdapterNotFound
from schemas.errors import DependencyUnavailable
from schemas.models import WITHOUT_MODELS, Models, ModelsFile
from tests.integration.gateways import gateway_app

BASE = "tiny"
LIMIT = 100_000
ROWS = [
    {"name": BASE, "engine": "transformers", "weights": "/models/Tiny-Llama"},
    {"name": "no-lora", "engine": "vllm", "weights": "/models/Tiny-Llama"},
    {"name": "ranks", "engine": "vllm", "weights": "/models/Tiny-Llama", "options": {"enable_lora": True}},
    {"name": "server", "engine": "openai", "url": "http://127.0.0.1:1", "adapters": {"legal": "legal-lora-7"}},
]
MODELS = Models((*ModelsFile.model_validate({"models": ROWS}).models, *WITHOUT_MODELS.rows))
TALK = [{"role": "user", "content": "안녕"}]


def archive(seed: int = 0, *, rank: int = 2, **config: Any) -> bytes:
    shapes = {"m.q_proj.lora_A.weight": [rank, 8], "m.q_proj.lora_B.weight": [8, rank]}
    table, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(table).encode()
    told = {"peft_type": "LORA", "base_model_name_or_path": "Tiny-Llama", "r": rank, **config}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        made.writestr(CONFIG, json.dumps(told))
        made.writestr(WEIGHTS, len(head).to_bytes(8, "little") + head + bytes([seed]) * at)
    return data.getvalue()


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture
async def http(postgres: PostgresSettings, blobs: FolderBlobs, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = gateway_app(
        postgres,
        tmp_path / "blobs",
        retention=RetentionSettings(),
        limit=LimitSettings(file_bytes=LIMIT),
        models=MODELS,
    )
    async with app.router.lifespan_context(app):
        await app.state.services.database.opened.wait()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            yield client


@pytest.fixture
def folder(database: Database, blobs: FolderBlobs, tmp_path: Path) -> AdapterFolder:
    return AdapterFolder(database, blobs, MODELS, LoraSettings(cache=tmp_path / "cache"))


async def uploaded(http: httpx.AsyncClient, data: bytes) -> str:
    sent = await http.post("/v1/files", data={"purpose": "adapter"}, files={"file": ("a.zip", data)})
    assert sent.status_code == 200, sent.text
    found: str = sent.json()["id"]
    return found


async def registered(http: httpx.AsyncClient, name: str = "legal", *, base: str = BASE, **made: Any) -> httpx.Response:
    file = await uploaded(http, archive(**made))
    answer = await http.post("/v1/models", json={"base": base, "name": name, "file": file})
    assert (await http.delete(f"/v1/files/{file}")).status_code == 200  # it was copied
    return answer


async def submitted(http: httpx.AsyncClient, model: str) -> httpx.Response:
    body = {"kind": "generation", "input": {"messages": TALK, "model": model}}
    return await http.post("/v1/jobs", json=body)


async def model_of(database: Database, job: httpx.Response) -> tuple[str, str]:
    """The model that the job runs on, and the one that its input names."""
    assert job.status_code == 202, job.text
    async with database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT model, input->>'model' AS asked FROM job WHERE id = $1::uuid", job.json()["id"].removeprefix("job_")
        )
    return row["model"], row["asked"]


async def test_a_registered_adapter_is_listed_and_a_job_keeps_to_the_version_that_was_the_newest(
    http: httpx.AsyncClient, database: Database
) -> None:
    first = await registered(http, seed=1)
    assert (first.status_code, first.headers["location"]) == (201, f"/v1/models/{BASE}:legal")
    assert first.json() | {"parent": BASE, "version": 1, "rank": 2, "tasks": ["chat"]} == first.json()
    job = await submitted(http, f"{BASE}:legal")
    assert await model_of(database, job) == (BASE, f"{BASE}:legal@1")
    again = await registered(http, seed=1)
    assert (again.status_code, again.json()["version"]) == (200, 1)
    second = await registered(http, seed=2)
    assert (second.status_code, second.json()["version"]) == (201, 2)
    assert await model_of(database, await submitted(http, f"{BASE}:legal")) == (BASE, f"{BASE}:legal@2")
    assert await model_of(database, await submitted(http, f"{BASE}:legal@1")) == (BASE, f"{BASE}:legal@1")
    listed = {row["id"]: row["version"] for row in (await http.get("/v1/models")).json()["data"] if row["parent"]}
    assert listed == {f"{BASE}:legal": 2, "server:legal": None}
    one = (await http.get(f"/v1/models/{BASE}:legal@1")).json()
    assert (one["id"], one["sha256"]) == (f"{BASE}:legal@1", first.json()["sha256"])
    card = await http.get(f"/v1/models/{BASE}:legal@1/card")
    assert (card.status_code, one["sha256"] in card.text) == (200, True), card.text
    assert (await http.get(f"/v1/models/{BASE}:nothing/card")).json()["code"] == "adapter_not_found"
    assert (await http.get("/v1/models/nothing/card")).json()["code"] == "alias_not_found"


async def test_an_adapter_that_is_not_there_is_refused_at_submit_with_those_that_are(http: httpx.AsyncClient) -> None:
    await registered(http)
    for model in (f"{BASE}:leagl", f"{BASE}:legal@2", "ranks:legal", "server:other", "server:legal@1"):
        refused = await submitted(http, model)
        problem = refused.json()
        assert (refused.status_code, problem["code"], problem["field"]) == (422, "adapter_not_found", "input.model")
        assert ("tiny:legal" in problem["detail"]) == model.startswith(BASE)
        assert ("server:legal" in problem["detail"]) == model.startswith("server")
    assert (await submitted(http, "gone:legal")).json()["code"] == "model_not_found"


async def test_a_removed_adapter_is_gone_with_its_bytes_and_its_number_is_not_given_again(
    http: httpx.AsyncClient, database: Database, blobs: FolderBlobs, folder: AdapterFolder
) -> None:
    await registered(http, seed=1)
    await registered(http, seed=2)
    gone = await http.delete(f"/v1/models/{BASE}:legal@2")
    assert (gone.status_code, gone.json()) == (
        200,
        {"id": f"{BASE}:legal@2", "object": "model", "deleted": True},
    )
    assert (await http.get(f"/v1/models/{BASE}:legal")).json()["version"] == 1
    assert (await registered(http, seed=3)).json()["version"] == 3
    assert (await http.delete(f"/v1/models/{BASE}:legal")).status_code == 200
    for path in (f"{BASE}:legal", f"{BASE}:legal@1"):
        assert (await http.delete(f"/v1/models/{path}")).status_code == 404
        assert (await http.get(f"/v1/models/{path}")).status_code == 404
    with pytest.raises(AdapterNotFound):
        async with folder.ready("default", BASE, f"{BASE}:legal@1"):
            pass
    await Garbage(database, blobs).collect()
    assert [name async for name in blobs.names("default/adapters")] == []
    async with database.connection() as connection:
        assert await stored.stored_bytes(connection, "default") == 0


@pytest.mark.parametrize(
    ("body", "config", "status", "code", "why"),
    [
        ({}, {"use_dora": True}, 422, "adapter_refused", "DoRA"),
        ({}, {"base_model_name_or_path": "x/Other"}, 422, "adapter_refused", "x/Other"),
        ({"base": "ranks"}, {"rank": 32}, 422, "adapter_refused", "at most 16"),
        ({"base": "no-lora"}, {}, 422, "invalid_input", "enable_lora"),
        ({"base": "server"}, {}, 422, "invalid_input", "models file"),
        ({"base": "none"}, {}, 422, "model_not_found", BASE),
        ({"name": "a/b"}, {}, 422, "invalid_input", "name"),
        ({"name": "a:b"}, {}, 422, "invalid_input", "name"),
        ({"file": f"file_{'0' * 32}"}, {}, 404, "file_not_found", "upload"),
    ],
)
async def test_what_cannot_be_served_is_refused_when_it_is_registered_and_nothing_stays(
    http: httpx.AsyncClient,
    blobs: FolderBlobs,
    body: dict[str, str],
    config: dict[str, Any],
    status: int,
    code: str,
    why: str,
) -> None:
    file = await uploaded(http, archive(**config))
    refused = await http.post("/v1/models", json={"base": BASE, "name": "legal", "file": file, **body})
    assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    assert why in refused.text
    assert [name async for name in blobs.names("default/adapters")] == []


async def test_adapters_count_for_what_a_tenant_may_store(http: httpx.AsyncClient, blobs: FolderBlobs) -> None:
    file = await uploaded(http, archive(rank=60, r=60))  # 3.8 kB twice, of 100 kB
    for n in range(40):
        answer = await http.post("/v1/models", json={"base": BASE, "name": f"n{n}", "file": file})
        if answer.status_code != 201:
            break
    assert answer.json()["code"] == "storage_full"
    assert len([name async for name in blobs.names("default/adapters")]) == n


async def test_many_are_registered_at_once(http: httpx.AsyncClient) -> None:
    file = await uploaded(http, archive())
    answers = await asyncio.gather(
        *(http.post("/v1/models", json={"base": BASE, "name": f"n{n % 10}", "file": file}) for n in range(40))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 30 + [201] * 10
    assert {answer.json()["version"] for answer in answers} == {1}


async def test_no_tenant_sees_anothers_adapter(http: httpx.AsyncClient, folder: AdapterFolder) -> None:
    await registered(http)
    with pytest.raises(AdapterNotFound):
        async with folder.ready("another", BASE, f"{BASE}:legal@1"):
            pass


async def test_a_model_without_an_adapter_and_a_servers_own_need_no_folder(
    folder: AdapterFolder, tmp_path: Path
) -> None:
    async with folder.ready("default", BASE, BASE) as found:
        assert found is None
    async with folder.ready("default", None, f"{BASE}:legal") as found:
        assert found is None
    async with folder.ready("default", "server", "server:legal") as found:
        assert found is not None
        assert (found.where, found.name) == ("legal-lora-7", "server:legal")
    assert not (tmp_path / "cache").exists()


async def test_a_version_is_fetched_once_whole_into_a_folder_of_its_own(
    http: httpx.AsyncClient, database: Database, blobs: FolderBlobs, tmp_path: Path
) -> None:
    await registered(http, seed=1)
    await registered(http, seed=2)
    fetches: list[str] = []

    class Counted:
        def stream(self, key: str) -> AsyncIterator[bytes]:
            fetches.append(key)
            return blobs.stream(key)

    cache = LoraSettings(cache=tmp_path / "cache")
    workers = [AdapterFolder(database, Counted(), MODELS, cache) for _ in range(2)]

    async def use(worker: AdapterFolder, version: int) -> str:
        async with worker.ready("default", BASE, f"{BASE}:legal@{version}") as found:
            assert found is not None
            assert found.name == f"{BASE}:legal@{version}"
            assert checked(Path(found.where), bases=["Tiny-Llama"]).rank == 2
            assert (Path(found.where) / WEIGHTS).read_bytes()[-1] == version
            return found.where

    found = await asyncio.gather(*(use(worker, version) for _ in range(8) for worker in workers for version in (1, 2)))
    assert len(set(found)) == len(fetches) == 2


async def test_what_was_used_longest_ago_makes_room_but_nothing_in_use(
    http: httpx.AsyncClient, database: Database, blobs: FolderBlobs, tmp_path: Path
) -> None:
    for seed in range(1, 5):
        await registered(http, seed=seed)
    size = 400
    folder = AdapterFolder(database, blobs, MODELS, LoraSettings(cache=tmp_path / "cache", cache_bytes=2 * size))

    async def use(version: int) -> Path:
        async with folder.ready("default", BASE, f"{BASE}:legal@{version}") as found:
            assert found is not None
            assert size // 2 < (Path(found.where) / WEIGHTS).stat().st_size < size
            return Path(found.where)

    first, second = await use(1), await use(2)
    os.utime(first, (1_000, 1_000))
    third = await use(3)
    assert [one.exists() for one in (first, second, third)] == [False, True, True]
    os.utime(second, (1_000, 1_000))
    async with folder.ready("default", BASE, f"{BASE}:legal@2"):
        os.utime(second, (1_000, 1_000))
        await use(4)
        assert second.exists()
        assert not third.exists()
    assert await use(1) == first


async def test_other_bytes_than_those_registered_are_not_served(
    http: httpx.AsyncClient, blobs: FolderBlobs, folder: AdapterFolder, tmp_path: Path
) -> None:
    await registered(http)
    [key] = [name async for name in blobs.names("default/adapters")]
    await blobs.put(f"default/adapters/{key}", b"other bytes")
    with pytest.raises(DependencyUnavailable, match="other bytes"):
        async with folder.ready("default", BASE, f"{BASE}:legal@1"):
            pass
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [f"{key}.lock"]
