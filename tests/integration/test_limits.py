"""A tenant over its limits is told so, and when to retry; other tenants do not notice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

import gateway.http.limits
from gateway.http.limits import Limits, QueueFull, RateLimited
from gateway.jobs.overflow import STEP
from infra.postgres.database import Database
from infra.postgres.keys import digest
from infra.postgres.queries import keys
from infra.settings import (
    LimitSettings,
    PostgresSettings,
)
from producers.client.async_ import AsyncClient
from producers.client.errors import ApiError
from tests.integration.gateways import gateway_app
from tests.integration.jobs import Jobs

NOOP = {"kind": "noop", "input": {}}
TENANTS = ("ours", "theirs")


@asynccontextmanager
async def serving(
    database: Database, postgres: PostgresSettings, folder: Path, limit: LimitSettings, *, new_keys: bool = True
) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """A gateway with these limits, and a client for each tenant; the key is the tenant's name."""
    app = gateway_app(postgres, folder, auth="on", limit=limit)
    async with database.connection() as connection:
        for tenant in TENANTS if new_keys else ():
            await keys.create(connection, uuid4(), tenant, tenant, tenant, digest(tenant), False)
    async with app.router.lifespan_context(app), AsyncExitStack() as clients:
        await app.state.services.database.opened.wait()
        transport = httpx.ASGITransport(app)
        yield {
            tenant: await clients.enter_async_context(
                httpx.AsyncClient(
                    transport=transport, base_url="http://gateway", headers={"Authorization": f"Bearer {tenant}"}
                )
            )
            for tenant in TENANTS
        }


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    """The status, code and Retry-After of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert problem["remedy"]
    return answer.status_code, problem["code"], answer.headers["retry-after"]


async def test_submissions_beyond_the_rate_are_refused_and_others_are_not(
    jobs: Jobs, postgres: PostgresSettings, tmp_path: Path
) -> None:
    limit = LimitSettings(rate=0.01, burst=3)  # however slow the machine, no fourth becomes due
    async with serving(jobs.database, postgres, tmp_path, limit) as clients:
        answers = [await clients["ours"].post("/v1/jobs", json=NOOP) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        status, code, retry_after = refusal(answers[3])
        assert (status, code) == (429, "rate_limited")
        assert 0 < int(retry_after) <= 100
        assert (await clients["theirs"].post("/v1/jobs", json=NOOP)).status_code == 202
        search = await clients["ours"].post("/v1/collections/c/search", json={"query": "x"})
        assert refusal(search)[1] == "rate_limited"
        assert (await clients["ours"].get("/v1/jobs")).status_code == 200
    assert len(await jobs.fetch("SELECT 1 FROM job")) == 4


async def test_the_client_waits_as_long_as_it_is_told(jobs: Jobs, postgres: PostgresSettings, tmp_path: Path) -> None:
    async with serving(jobs.database, postgres, tmp_path, LimitSettings(rate=2, burst=1)) as clients:
        transport = clients["ours"]._transport
        began = asyncio.get_running_loop().time()
        async with AsyncClient("http://gateway", "ours", transport=transport) as client:
            for _ in range(3):
                await client.submit("noop", {})
        assert asyncio.get_running_loop().time() - began >= 1
    assert len(await jobs.fetch("SELECT 1 FROM job")) == 3


async def test_a_full_queue_takes_nothing_until_there_is_room(
    jobs: Jobs, postgres: PostgresSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.http.limits, "COUNT_EVERY_S", 0.05)
    waiting = await jobs.submit(2, tenant="ours")
    retried, _ = await jobs.running(tenant="ours")
    await jobs.fetch(
        "UPDATE job SET state = 'retry_wait', due_at = now() + '1 h', lease_until = NULL WHERE id = $1", retried
    )
    async with serving(jobs.database, postgres, tmp_path, LimitSettings(waiting=3)) as clients:

        async def until(status: int) -> httpx.Response:
            async with asyncio.timeout(60):
                while (answer := await clients["ours"].post("/v1/jobs", json=NOOP)).status_code != status:
                    await asyncio.sleep(0.02)
                    await jobs.fetch("DELETE FROM job WHERE id <> ALL($1::uuid[])", [*waiting, retried])
            return answer

        assert refusal(await until(429)) == (429, "queue_full", "5")
        assert (await clients["theirs"].post("/v1/jobs", json=NOOP)).status_code == 202
        for job in waiting:
            await jobs.end(job)
        await until(202)


async def test_uploads_end_where_the_room_ends(jobs: Jobs, postgres: PostgresSettings, tmp_path: Path) -> None:
    def form(size: int) -> dict[str, tuple[str, bytes]]:
        return {"file": ("f.txt", b"x" * size)}

    async with serving(jobs.database, postgres, tmp_path, LimitSettings(file_bytes=1000)) as clients:
        ours = clients["ours"]
        first = await ours.post("/v1/files", files=form(900))
        assert first.status_code == 200
        assert refusal(await ours.post("/v1/files", files=form(101))) == (429, "storage_full", "3600")
        assert (await ours.post("/v1/files", files=form(100))).status_code == 200
        assert refusal(await ours.post("/v1/files", files=form(1)))[1] == "storage_full"
        assert (await clients["theirs"].post("/v1/files", files=form(900))).status_code == 200
        assert (await ours.delete(f"/v1/files/{first.json()['id']}")).status_code == 200
        assert (await ours.post("/v1/files", files=form(900))).status_code == 200
    assert sorted(row["bytes"] for row in await jobs.fetch("SELECT bytes FROM file")) == [100, 900, 900]
    stored = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert len(stored) == 3
    # A refused upload leaves a note but no bytes, so retention finds nothing under it.
    left = [row["blob"] for row in await jobs.fetch("SELECT blob FROM blob_garbage")]
    assert not set(left) & {row["blob"] for row in await jobs.fetch("SELECT blob FROM file")}


@pytest.mark.parametrize("gateways", [1, 2])
async def test_concurrent_uploads_do_not_take_the_same_room(
    jobs: Jobs, postgres: PostgresSettings, tmp_path: Path, gateways: int
) -> None:
    at_once = 12
    under_way = asyncio.Barrier(at_once)

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx'
        await under_way.wait()
        for _ in range(9):
            yield b"x" * 100
            await asyncio.sleep(0)
        yield b"\r\n--b--\r\n"

    async with AsyncExitStack() as stack:
        served = [
            await stack.enter_async_context(
                serving(jobs.database, postgres, tmp_path, LimitSettings(file_bytes=2000), new_keys=not number)
            )
            for number in range(gateways)
        ]
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        answers = await asyncio.gather(
            *[
                served[number % gateways]["ours"].post("/v1/files", content=body(), headers=form)
                for number in range(at_once)
            ]
        )
        accepted = [answer for answer in answers if answer.status_code == 200]
        assert {refusal(answer)[1] for answer in answers if answer not in accepted} == {"storage_full"}
        assert len(accepted) <= 2
        kept = await jobs.fetch("SELECT bytes FROM file")
        assert [row["bytes"] for row in kept] == [901] * len(accepted)
        # The room that the refused ones had reserved is free again.
        room = 2000 - 901 * len(accepted)
        file = {"file": ("f", b"x" * room)}
        assert (await served[0]["ours"].post("/v1/files", files=file)).status_code == 200
    assert len([path for path in (tmp_path / "objects").rglob("*") if path.is_file()]) == len(accepted) + 1


async def test_the_client_does_not_wait_for_room_that_will_not_come_soon(
    jobs: Jobs, postgres: PostgresSettings, tmp_path: Path
) -> None:
    async with (
        serving(jobs.database, postgres, tmp_path, LimitSettings(file_bytes=1)) as clients,
        AsyncClient("http://gateway", "ours", transport=clients["ours"]._transport) as client,
    ):
        with pytest.raises(ApiError) as caught:
            await client.upload(b"two")
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (429, "storage_full", 3600)


async def test_a_key_of_an_earlier_version_still_gives_its_job(
    jobs: Jobs, postgres: PostgresSettings, tmp_path: Path
) -> None:
    [first] = await jobs.submit(tenant="ours", idempotency_key="k", fingerprint=bytes(32))
    async with serving(jobs.database, postgres, tmp_path, LimitSettings()) as clients:
        for _ in range(2):
            answer = await clients["ours"].post("/v1/jobs", json=NOOP, headers={"Idempotency-Key": "k"})
            assert (answer.status_code, answer.json()["id"]) == (200, f"job_{first.hex}")


async def test_zero_is_no_limit(database: Database) -> None:
    limits = Limits(database, LimitSettings(rate=0, waiting=0, file_bytes=0))
    for _ in range(100):
        await limits.submission("t")
    async with limits.room("t") as room:
        room.take(2**60)
    await asyncio.wait_for(limits.run(), 60)


async def test_the_rate_comes_back_with_time(database: Database) -> None:
    limits = Limits(database, LimitSettings(rate=50, burst=1))
    await limits.submission("t")
    with pytest.raises(RateLimited):
        await limits.submission("t")
    async with asyncio.timeout(60):
        while True:
            try:
                await limits.submission("t")
                break
            except RateLimited:
                await asyncio.sleep(0.01)


async def test_a_full_queue_is_said_with_its_length(database: Database, jobs: Jobs) -> None:
    await jobs.submit(2, tenant="t")
    limits = Limits(database, LimitSettings(waiting=2))
    counting = asyncio.create_task(limits.run())

    async def until_refused() -> None:
        while True:
            await limits.submission("t")
            await asyncio.sleep(0.01)

    try:
        with pytest.raises(QueueFull, match="2 jobs of yours wait"):
            await asyncio.wait_for(until_refused(), 60)
    finally:
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)


async def test_a_flood_of_interactive_jobs_goes_on_as_bulk_and_others_stay_interactive(
    jobs: Jobs, postgres: PostgresSettings, tmp_path: Path
) -> None:
    limit = LimitSettings(rate=0, interactive=16)

    async def lanes(client: httpx.AsyncClient, count: int) -> list[str]:
        answers = await asyncio.gather(*(client.post("/v1/jobs", json=NOOP) for _ in range(count)))
        assert {answer.status_code for answer in answers} == {202}
        return sorted(answer.json()["lane"] for answer in answers)

    async with serving(jobs.database, postgres, tmp_path, limit) as clients:
        # All at once: those that are still being stored count too, but for a few that begin beside a count.
        flood = await lanes(clients["ours"], 200)
        assert 16 <= flood.count("interactive") <= 16 + STEP
        assert await lanes(clients["theirs"], 3) == ["interactive"] * 3
        # Whoever has few waiting again is interactive again.
        await jobs.fetch("UPDATE job SET state = 'running' WHERE lane = 'interactive'")
        async with asyncio.timeout(60):
            while await lanes(clients["ours"], 1) == ["bulk"]:
                await asyncio.sleep(0.02)


async def test_a_single_tenant_s_jobs_stay_in_their_lane(
    jobs: Jobs, postgres: PostgresSettings, tmp_path: Path
) -> None:
    app = gateway_app(postgres, tmp_path, limit=LimitSettings(interactive=1))
    async with app.router.lifespan_context(app):
        await app.state.services.database.opened.wait()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answers = [await client.post("/v1/jobs", json=NOOP) for _ in range(3)]
    assert [answer.json()["lane"] for answer in answers] == ["interactive"] * 3
