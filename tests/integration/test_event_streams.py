"""A stream of events ends with the key that opened it."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

import gateway.http.auth
from infra.metrics import FOLLOWERS
from infra.postgres.keys import digest
from infra.postgres.queries import keys
from infra.settings import LimitSettings, PostgresSettings
from tests.integration.jobs import Jobs
from tests.integration.test_limits import refusal, serving


async def followed(streams: int) -> None:
    """Wait until so many streams are open."""
    async with asyncio.timeout(60):
        while FOLLOWERS._value.get() < streams:
            await asyncio.sleep(0.01)


async def test_a_revoked_key_reads_no_more_events(
    jobs: Jobs, postgres: PostgresSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.http.auth, "REMEMBER_S", 0.1)
    [job] = await jobs.submit(tenant="ours")
    key = uuid4()
    async with serving(jobs.database, postgres, tmp_path, LimitSettings()) as clients:
        async with jobs.database.connection() as connection:
            await keys.create(connection, key, "ours", "second", "second", digest("second"), False)
        second = {"Authorization": "Bearer second"}
        before = FOLLOWERS._value.get()
        reading = asyncio.create_task(clients["ours"].get(f"/v1/jobs/job_{job.hex}/events", headers=second))
        other = asyncio.create_task(clients["ours"].get(f"/v1/jobs/job_{job.hex}/events"))
        await followed(before + 2)
        async with jobs.database.connection() as connection:
            assert await keys.revoke(connection, key)
        told = await asyncio.wait_for(reading, 60)
        assert told.status_code == 200
        assert "event: state" in told.text
        assert not other.done(), "the job goes on, and so does a stream whose key is good"
        await jobs.end(job)
        assert (await asyncio.wait_for(other, 60)).text.count("event: state") >= 1


async def test_so_many_streams_of_a_tenant_are_open_at_once_and_a_wait_beyond_is_answered(
    jobs: Jobs, postgres: PostgresSettings, tmp_path: Path
) -> None:
    [job, other] = [*await jobs.submit(tenant="ours"), *await jobs.submit(tenant="theirs")]
    path = f"/v1/jobs/job_{job.hex}"
    before = FOLLOWERS._value.get()
    async with serving(jobs.database, postgres, tmp_path, LimitSettings(streams=2)) as clients:
        ours = clients["ours"]
        held = [asyncio.create_task(ours.get(f"{path}/events")) for _ in range(2)]
        await followed(before + 2)
        refused = await ours.get(f"{path}/events")
        assert refusal(refused)[:2] == (429, "too_many_streams")
        waited = await asyncio.wait_for(ours.get(path, headers={"Prefer": "wait=60"}), 60)
        assert waited.json()["state"] == "queued"
        theirs = asyncio.create_task(clients["theirs"].get(f"/v1/jobs/job_{other.hex}/events"))
        await jobs.end(job)
        assert [answer.status_code for answer in await asyncio.wait_for(asyncio.gather(*held), 60)] == [200, 200]
        assert (await ours.get(f"{path}/events")).status_code == 200, "there is room once more"
        await jobs.end(other)
        assert (await asyncio.wait_for(theirs, 60)).status_code == 200
