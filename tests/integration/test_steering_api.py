"""Owners pause, resume and steer jobs and batches over HTTP, by the client; the events say who did it, and why."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from infra.postgres.batches import PostgresBatches
from infra.postgres.keys import digest
from infra.postgres.queries import keys, rescue
from infra.postgres.steering import PostgresSteering
from infra.settings import PostgresSettings
from producers.client.async_ import AsyncClient
from producers.client.errors import ApiError
from schemas.lifecycle import JobState
from schemas.outcomes import UNTIL_RESUMED
from tests.integration.gateways import gateway_app
from tests.integration.jobs import Jobs

OWNER, OTHER = "owner", "other"
INPUT = orjson.dumps({"input_file_id": f"file_{1:032x}", "endpoint": "/v1/jobs", "completion_window": "24h"}).decode()


@pytest.fixture
async def transport(jobs: Jobs, postgres: PostgresSettings, tmp_path: Path) -> AsyncIterator[httpx.ASGITransport]:
    app = gateway_app(postgres, tmp_path, auth="on")
    async with jobs.database.connection() as connection:
        for name, tenant in ((OWNER, "default"), (OTHER, "another")):
            await keys.create(connection, uuid4(), tenant, name, name, digest(name))
    async with app.router.lifespan_context(app):
        await app.state.services.database.opened.wait()
        yield httpx.ASGITransport(app)


@pytest.fixture
async def client(transport: httpx.ASGITransport) -> AsyncIterator[AsyncClient]:
    async with AsyncClient("http://gateway", OWNER, transport=transport, retry_for_s=0) as made:
        yield made


async def batch(jobs: Jobs) -> UUID:
    """A batch with three lines that wait."""
    job_id, epoch = await jobs.running(kind="batch", stage="check", input=INPUT)
    assert await PostgresBatches(jobs.database).begin(job_id, 3, 86_400)
    await jobs.fan_out(job_id, epoch, 3, then="assemble", lane="bulk")
    return job_id


async def told(jobs: Jobs, job_id: UUID) -> list[tuple[str, dict[str, object]]]:
    rows = await jobs.fetch("SELECT type, data FROM job_event WHERE job_id = $1 ORDER BY id", job_id)
    return [(row["type"], orjson.loads(row["data"])) for row in rows if row["type"] not in ("state", "stage")]


async def test_a_job_is_paused_steered_and_resumed_and_its_events_say_by_whom(jobs: Jobs, client: AsyncClient) -> None:
    job_id = await batch(jobs)
    name = f"job_{job_id.hex}"
    paused = await client.pause(name, reason="엔진을 바꾼다")
    assert paused.steering is not None
    assert paused.steering.paused_at is not None
    near = datetime(2030, 1, 2, tzinfo=UTC)
    steered = await client.steer(name, {"weight": 7, "at_once": 2, "deadline": near.isoformat()}, reason="it is urgent")
    assert steered.steering is not None
    assert (steered.steering.weight, steered.steering.at_once, steered.steering.deadline) == (7, 2, near)
    free = await client.steer(name, {"at_once": None})
    assert free.steering is not None
    assert (free.steering.weight, free.steering.at_once, free.steering.deadline) == (7, None, near)
    resumed = await client.resume(name)
    assert resumed.steering is not None
    assert resumed.steering.paused_at is None
    assert await told(jobs, job_id) == [
        ("paused", {"by": OWNER, "reason": "엔진을 바꾼다"}),
        (
            "steered",
            {"by": OWNER, "reason": "it is urgent", "weight": 7, "at_once": 2, "deadline": "2030-01-02T00:00:00Z"},
        ),
        ("steered", {"by": OWNER, "reason": None, "at_once": None}),
        ("resumed", {"by": OWNER, "reason": None}),
    ]


@pytest.mark.parametrize("resumed_first", [False, True])
async def test_a_paused_training_waits_until_it_is_resumed_and_not_at_all_if_that_has_happened(
    jobs: Jobs, client: AsyncClient, resumed_first: bool
) -> None:
    job_id, epoch = await jobs.running(kind="training", stage="train")
    name = f"job_{job_id.hex}"
    steering = PostgresSteering(jobs.database)
    assert not await steering.paused(job_id)
    await client.pause(name)
    assert await steering.paused(job_id)
    if resumed_first:
        await client.resume(name)
    assert await jobs.finish(job_id, epoch, JobState.RETRY_WAIT, delay_s=UNTIL_RESUMED.total_seconds(), attempt=0)
    if not resumed_first:
        assert await _queued(jobs) == 0
        assert (await client.job(name)).state is JobState.RETRY_WAIT
        await client.resume(name)
    assert await _queued(jobs) == 1
    assert (await client.job(name)).state is JobState.QUEUED


async def test_a_training_that_waits_for_another_try_is_not_hurried_by_resuming_it(
    jobs: Jobs, client: AsyncClient
) -> None:
    job_id, epoch = await jobs.running(kind="training", stage="train")
    assert await jobs.finish(job_id, epoch, JobState.RETRY_WAIT, delay_s=300.0, attempt=0)
    await client.pause(f"job_{job_id.hex}")
    await client.resume(f"job_{job_id.hex}")
    assert await _queued(jobs) == 0


async def _queued(jobs: Jobs) -> int:
    async with jobs.database.connection() as connection:
        return await rescue.queue_due(connection, 10)


async def test_a_batch_is_steered_in_its_own_shape(jobs: Jobs, client: AsyncClient) -> None:
    job_id = await batch(jobs)
    name = f"batch_{job_id.hex}"
    before = await client.batches.get(name)
    assert (before.paused_at, before.weight, before.at_once, before.deadline) == (None, 1, None, before.expires_at)
    assert (await client.batches.pause(name)).paused_at is not None
    changed = await client.batches.steer(name, {"weight": 2, "at_once": 4, "deadline": None})
    assert (changed.weight, changed.at_once, changed.deadline, changed.status) == (2, 4, None, "in_progress")
    assert (await client.batches.resume(name)).paused_at is None


async def test_what_cannot_be_steered_is_refused_with_a_reason(
    jobs: Jobs, client: AsyncClient, transport: httpx.ASGITransport
) -> None:
    job_id = await batch(jobs)
    [childless] = await jobs.submit()
    name = f"job_{job_id.hex}"

    async def refused(call: str, id: str, *arguments: object, by: AsyncClient = client) -> tuple[int, str | None]:
        with pytest.raises(ApiError) as error:
            await getattr(by, call)(id, *arguments)
        return error.value.status, error.value.code

    assert await refused("pause", f"job_{childless.hex}") == (409, "job_has_no_children")
    assert await refused("pause", f"job_{uuid4().hex}") == (404, "job_not_found")
    for wrong in (
        {},
        {"reason": "why"},
        {"weight": 0},
        {"weight": None},
        {"at_once": 0},
        {"deadline": "2030-01-02T00:00:00"},
        {"wait": 1},
    ):
        status, _ = await refused("steer", name, wrong)
        assert status == 422
    async with AsyncClient("http://gateway", OTHER, transport=transport, retry_for_s=0) as stranger:
        assert await refused("pause", name, by=stranger) == (404, "job_not_found")
        with pytest.raises(ApiError) as error:
            await stranger.batches.pause(f"batch_{job_id.hex}")
        assert (error.value.status, error.value.code) == (404, "batch_not_found")
    assert await told(jobs, job_id) == []
    await jobs.cancel(job_id)
    for call in ("pause", "resume"):
        assert await refused(call, name) == (409, "job_ended")
    assert await refused("steer", name, {"weight": 2}) == (409, "job_ended")
