"""A stream of events ends with the key that opened it."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

import gateway.http.auth
from infra.postgres.keys import digest
from infra.postgres.queries import keys
from infra.settings import LimitSettings, PostgresSettings
from tests.integration.jobs import Jobs
from tests.integration.test_limits import serving


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
        reading = asyncio.create_task(clients["ours"].get(f"/v1/jobs/job_{job.hex}/events", headers=second))
        other = asyncio.create_task(clients["ours"].get(f"/v1/jobs/job_{job.hex}/events"))
        assert (await clients["ours"].get("/v1/jobs", headers=second)).status_code == 200
        async with jobs.database.connection() as connection:
            assert await keys.revoke(connection, key)
        told = await asyncio.wait_for(reading, 20)
        assert told.status_code == 200
        assert "event: state" in told.text
        assert not other.done(), "the job goes on, and so does a stream whose key is good"
        await jobs.end(job)
        assert (await asyncio.wait_for(other, 20)).text.count("event: state") >= 1
