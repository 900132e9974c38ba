"""What an unsuccessful job has written is removed within seconds, whoever ended it; what was published stays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from infra.blobs.folder import FolderBlobs
from infra.files import PublishedFiles
from infra.postgres.catalogue.writer import PostgresCatalogueWriter
from infra.postgres.database import Database
from infra.postgres.expiry import PostgresExpiry
from infra.postgres.queries import catalogue, deaths, rescue
from infra.postgres.queries import garbage as queries
from infra.settings import RescueSettings
from producers.garbage import PAGE, Garbage
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs

S = JobState


class Desk:
    """Jobs that have written something, and what is left of it."""

    def __init__(self, jobs: Jobs, blobs: FolderBlobs) -> None:
        self.jobs = jobs
        self.blobs = blobs
        self.garbage = Garbage(jobs.database, blobs)

    async def write(self, job_id: UUID, epoch: int = 1, name: str = "parts/1.jsonl") -> None:
        await self.blobs.put(f"default/jobs/{job_id.hex}/{epoch}/{name}", b"text")

    async def left(self) -> list[str]:
        return [name async for name in self.blobs.names("default/jobs")]

    async def collect(self) -> int:
        """Collect garbage as soon as it is due."""
        await self.jobs.fetch("UPDATE blob_garbage SET due_at = now() WHERE due_at <= now() + interval '5 seconds'")
        return await self.garbage.collect()


@pytest.fixture
def desk(jobs: Jobs, tmp_path: Path) -> Desk:
    return Desk(jobs, FolderBlobs(tmp_path))


async def test_a_blob_that_goes_by_itself_stays_as_long_as_it_is_used(desk: Desk) -> None:
    key = "default/tokenised/1.zip"
    expiry = PostgresExpiry(desk.jobs.database)
    await expiry.expire(key, timedelta(0))
    await expiry.expire(key, timedelta(days=1))
    await desk.blobs.put(key, b"tokens")
    await desk.garbage.collect()
    assert await desk.blobs.get(key) == b"tokens"
    await expiry.expire(key, timedelta(0))
    assert await desk.garbage.collect() == 1


async def fail(jobs: Jobs, job_id: UUID, epoch: int) -> None:
    await jobs.finish(job_id, epoch, S.FAILED, error='{"code": "x"}', code="x")


async def cancel_at_work(jobs: Jobs, job_id: UUID, epoch: int) -> None:
    await jobs.cancel(job_id)
    await jobs.finish(job_id, epoch, S.CANCELLED)


async def cancel_in_between(jobs: Jobs, job_id: UUID, epoch: int) -> None:
    await jobs.finish(job_id, epoch, S.RETRY_WAIT, error="{}", delay_s=60)
    await jobs.cancel(job_id)


async def lose(jobs: Jobs, job_id: UUID, epoch: int) -> None:
    await jobs.fetch("UPDATE job SET lease_until = now() - interval '1 s', max_attempts = 1 WHERE id = $1", job_id)
    async with jobs.database.connection() as connection:
        await deaths.end_leases(connection, 10, proof=RescueSettings().proof)


async def expire(jobs: Jobs, job_id: UUID, epoch: int) -> None:
    await jobs.finish(job_id, epoch, S.RETRY_WAIT, error="{}", delay_s=60)
    await jobs.fetch("UPDATE job SET expires_at = now() - interval '1 s' WHERE id = $1", job_id)
    async with jobs.database.connection() as connection:
        await rescue.end_expired(connection, 10)


@pytest.mark.parametrize("end", [fail, cancel_at_work, cancel_in_between, lose, expire])
async def test_what_a_job_wrote_goes_when_it_has_not_succeeded(
    desk: Desk, end: Callable[[Jobs, UUID, int], Awaitable[None]]
) -> None:
    job_id, epoch = await desk.jobs.running()
    await desk.write(job_id)
    await desk.write(job_id, epoch, "points.jsonl")
    writer = PostgresCatalogueWriter(desk.jobs.database)
    source = f"default/collections/c/1/{job_id.hex}-1"
    await writer.expect_source(source, job_id)
    await desk.blobs.put(source, b"text")
    assert await desk.collect() == 0
    await end(desk.jobs, job_id, epoch)
    assert await desk.collect() == 3
    assert await desk.left() == []
    await desk.write(job_id, epoch, "late.jsonl")
    assert await desk.collect() == 0
    await desk.jobs.fetch("UPDATE blob_garbage SET due_at = now() WHERE due_at < now() + interval '10 minutes'")
    assert await desk.garbage.collect() == 1, "what a worker wrote that had not heard of the end"
    assert await desk.jobs.fetch("SELECT 1 FROM blob_garbage") == []


async def test_what_a_lost_try_wrote_goes_and_what_was_handed_to_it_stays(desk: Desk) -> None:
    job_id, first = await desk.jobs.running()
    await desk.write(job_id, first)
    await desk.jobs.finish(job_id, first, S.QUEUED, stage="run", attempt=0)
    [row] = await desk.jobs.claim(job_id)
    await desk.write(job_id, row.epoch)
    await desk.jobs.fetch("UPDATE job SET lease_until = now() - interval '1 s' WHERE id = $1", job_id)
    async with desk.jobs.database.connection() as connection:
        await deaths.end_leases(connection, 10, proof=RescueSettings().proof)
    assert await desk.collect() == 1
    assert [name async for name in desk.blobs.names(f"default/jobs/{job_id.hex}")] == [str(first)]


async def test_children_that_wrote_leave_nothing_when_the_tree_is_cancelled(desk: Desk) -> None:
    parent, (one, _) = await desk.jobs.parent()
    await desk.write(parent)
    await desk.jobs.claim(one)
    await desk.write(one)
    await desk.jobs.cancel(parent)
    await desk.jobs.finish(one, 1, S.CANCELLED)
    noted = {row["blob"] for row in await desk.jobs.fetch("SELECT blob FROM blob_garbage")}
    assert noted == {f"default/jobs/{parent.hex}", f"default/jobs/{one.hex}"}, "the other one has never run"
    assert await desk.collect() == 2
    assert await desk.left() == []


async def test_what_succeeded_or_goes_on_is_left_alone(desk: Desk) -> None:
    done, epoch = await desk.jobs.running()
    await desk.jobs.finish(done, epoch, S.SUCCEEDED, result="{}")
    later, epoch = await desk.jobs.running()
    await desk.jobs.finish(later, epoch, S.RETRY_WAIT, error="{}", delay_s=60)
    for job_id in (done, later):
        await desk.write(job_id)
    assert await desk.collect() == 0
    assert await desk.left() == sorted([done.hex, later.hex])


async def test_published_files_outlast_the_failure_of_their_job(desk: Desk) -> None:
    job_id, epoch = await desk.jobs.running()
    files = PublishedFiles(desk.jobs.database, desk.blobs, "w").of("default", job_id, epoch)

    async def whole() -> AsyncIterator[bytes]:
        yield b"kept"

    file = await files.find(await files.publish(whole(), "out.jsonl", "batch_output"))
    await desk.write(job_id, epoch)
    await desk.write(job_id, epoch + 1)
    await fail(desk.jobs, job_id, epoch)
    assert await desk.collect() == 2
    assert await desk.blobs.get(file.blob) == b"kept"
    assert [name async for name in desk.blobs.names(f"default/jobs/{job_id.hex}/{epoch}")] == [file.blob[-32:]]


async def test_a_text_that_was_deleted_once_is_never_named(desk: Desk, database: Database) -> None:
    job_id, epoch = await desk.jobs.running()
    writer = PostgresCatalogueWriter(database)
    await writer.expect_source("default/collections/c/1/x", job_id)
    await fail(desk.jobs, job_id, epoch)
    await desk.collect()
    async with database.connection() as connection:
        assert not await catalogue.name_source(connection, "default/collections/c/1/x")


async def test_several_that_collect_at_once_delete_everything_once(desk: Desk) -> None:
    for _ in range(2 * PAGE + 10):
        job_id, epoch = await desk.jobs.running()
        await desk.write(job_id)
        await fail(desk.jobs, job_id, epoch)
    await desk.jobs.fetch("UPDATE blob_garbage SET due_at = now()")
    found = await asyncio.gather(*(Garbage(desk.jobs.database, desk.blobs).collect() for _ in range(3)))
    assert sum([*found, await desk.garbage.collect()]) == 2 * PAGE + 10
    assert await desk.left() == []


async def test_no_statement_reads_all_files_or_notes(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO blob_garbage (blob, due_at) SELECT 'default/jobs/' || n, now() + interval '1 day'"
            " FROM generate_series(1, 20000) AS n;"
            "INSERT INTO file (id, tenant, filename, purpose, content_type, bytes, sha256, blob)"
            " SELECT uuidv7(), 'default', 'f', 'p', 't', 1, 's', 'default/files/' || n"
            " FROM generate_series(1, 20000) AS n; ANALYZE"
        )
        for statement, value in (queries.DUE, 100), (queries.LISTED, ["default/jobs/1"]), (queries.LEFT, ["a", "b"]):
            plan = "\n".join(row["QUERY PLAN"] for row in await connection.fetch(f"EXPLAIN {statement}", value))
            assert "Seq Scan" not in plan, plan
