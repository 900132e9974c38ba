"""What jobs store stays within the tenant's limit: reserved before it is written, and freed when it is deleted."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from infra.blobs.counted import STEPS, CountedBlobs
from infra.blobs.folder import FolderBlobs
from infra.blobs.s3 import MinioBlobs
from infra.files import PublishedFiles
from infra.postgres.database import Database
from infra.postgres.queries import stored
from infra.postgres.queries.files import NewFile
from producers.garbage import Garbage
from schemas.errors import NotFound, StorageFull
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs, record_file

LIMIT = 64_000
KIB = b"x" * 1000


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield KIB


class Desk:
    """One tenant's room, and what is stored in it."""

    def __init__(self, database: Database, blobs: Any) -> None:
        self.database = database
        self.blobs = blobs
        self.counted = CountedBlobs(blobs, database, LIMIT)

    async def taken(self, tenant: str = "t") -> int:
        async with self.database.connection() as connection:
            wrong = await connection.fetch(
                "SELECT * FROM (SELECT tenant, sum(bytes) AS s FROM stored_blob GROUP BY tenant) b"
                " FULL JOIN stored_total t USING (tenant) WHERE coalesce(b.s, 0) IS DISTINCT FROM coalesce(t.bytes, 0)"
            )
            assert wrong == [], "the sum is that of the blobs"
            return await stored.stored_bytes(connection, tenant)


@pytest.fixture
def desk(database: Database, blobs: FolderBlobs | MinioBlobs) -> Desk:
    return Desk(database, blobs)


async def test_what_is_stored_is_counted_to_the_byte(desk: Desk) -> None:
    await desk.counted.put("t/jobs/a/1/parts/1", KIB)
    assert await desk.counted.put_stream("t/jobs/a/1/points", pieces(7)) == 7000
    await desk.counted.put("other/jobs/b/1/parts/1", KIB)
    assert (await desk.taken(), await desk.taken("other")) == (8000, 1000)
    assert await desk.counted.get("t/jobs/a/1/parts/1") == KIB
    assert len(b"".join([piece async for piece in desk.counted.stream("t/jobs/a/1/points", start=1)])) == 6999
    assert await desk.counted.delete("t/jobs/a/1/parts") == 1
    assert await desk.taken() == 7000
    assert await desk.counted.delete("t/jobs/a/1/points") == 1
    assert (await desk.taken(), await desk.taken("other")) == (0, 1000)


async def test_a_stream_ends_before_the_limit_is_passed_and_gives_its_room_back(desk: Desk) -> None:
    await desk.counted.put("t/jobs/a/1/first", KIB)
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            yield KIB
            given += 1

    with pytest.raises(StorageFull, match="64000 bytes together") as caught:
        await desk.counted.put_stream("t/jobs/a/1/second", endless())
    assert (caught.value.reason, caught.value.retryable) == ("storage_full", False)
    assert "WELIP_LIMIT_FILE_BYTES" in caught.value.message
    assert "remove files" in caught.value.message
    assert given == 63, "all the room there was, and no more"
    assert await desk.taken() == 1000
    with pytest.raises(NotFound):
        await desk.blobs.get("t/jobs/a/1/second")
    with pytest.raises(StorageFull):
        await desk.counted.put("t/jobs/a/1/third", KIB * 64)
    assert await desk.taken() == 1000


async def test_concurrent_writers_do_not_take_the_same_room(desk: Desk) -> None:
    found = await asyncio.gather(
        *(desk.counted.put_stream(f"t/jobs/{number}/1/points", pieces(10)) for number in range(20)),
        return_exceptions=True,
    )
    whole = [one for one in found if one == 10_000]
    assert 1 <= len(whole) <= 6
    assert {type(one) for one in found if one != 10_000} == {StorageFull}
    assert await desk.taken() == 10_000 * len(whole)
    assert len([name async for name in desk.blobs.names("t/jobs")]) == len(whole)


async def test_a_writer_holds_no_more_than_one_step_beyond_what_it_wrote(desk: Desk) -> None:
    held = []

    async def looked_at() -> AsyncIterator[bytes]:
        for number in range(1, 6):
            yield b"x" * 100
            held.append(await desk.taken() - number * 100)

    await desk.counted.put_stream("t/jobs/a/1/points", looked_at())
    assert all(0 <= beyond <= LIMIT // STEPS for beyond in held)


async def test_uploads_and_what_jobs_store_share_the_room(desk: Desk) -> None:
    async with desk.database.connection() as connection:
        about = {"filename": "f", "purpose": "p", "content_type": "t", "sha256": "0", "blob": "t/files/1"}
        await record_file(connection, NewFile(id=UUID(int=1), tenant="t", bytes=60_000, **about))
    await desk.counted.put("t/jobs/a/1/first", KIB * 4)
    with pytest.raises(StorageFull):
        await desk.counted.put("t/jobs/a/1/second", b"x")
    async with desk.database.unit_of_work() as connection:
        assert await stored.fits(connection, "t", 0, LIMIT)
        assert not await stored.fits(connection, "t", 1, LIMIT)


async def test_a_published_file_is_counted_once_and_refused_beyond_the_limit(desk: Desk) -> None:
    jobs = Jobs(desk.database)
    job_id, epoch = await jobs.running(tenant="t")
    files = PublishedFiles(desk.database, desk.counted, "w").of("t", job_id, epoch)
    await files.publish(pieces(40), "out", "result")
    assert await desk.taken() == 40_000
    with pytest.raises(StorageFull):
        await files.publish(pieces(40), "more", "result")
    assert await desk.taken() == 40_000


async def test_garbage_gives_its_room_back(desk: Desk) -> None:
    jobs = Jobs(desk.database)
    job_id, epoch = await jobs.running(tenant="t")
    await desk.counted.put(f"t/jobs/{job_id.hex}/{epoch}/parts/1", KIB)
    await desk.counted.put("t/jobs/another/1/parts/1", KIB)
    await jobs.finish(job_id, epoch, JobState.FAILED, error='{"code": "x"}', code="x")
    assert await desk.taken() == 2000
    await jobs.fetch("UPDATE blob_garbage SET due_at = now()")
    assert await Garbage(desk.database, desk.blobs).collect() == 1
    assert await desk.taken() == 1000


async def test_writers_and_deleters_of_several_tenants_at_once_leave_the_right_sums(desk: Desk) -> None:
    async def come_and_go(number: int) -> None:
        key = f"{'abc'[number % 3]}/jobs/{number}/1/x"
        for _ in range(3):
            await desk.counted.put_stream(key, pieces(2))
            async with desk.database.connection() as connection:
                await stored.forget(connection, [key, f"a/jobs/{number}", f"b/jobs/{number}", f"c/jobs/{number}"])
        await desk.counted.put(key, KIB)

    await asyncio.gather(*(come_and_go(number) for number in range(12)))
    assert [await desk.taken(tenant) for tenant in "abc"] == [4000] * 3


async def test_no_statement_reads_what_others_store(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO stored_blob (blob, tenant, bytes) SELECT n || '/jobs/x', n::text, 1"
            " FROM generate_series(1, 20000) AS n;"
            "INSERT INTO stored_total (tenant, bytes) SELECT n::text, 1 FROM generate_series(1, 20000) AS n;"
            "INSERT INTO file (id, tenant, filename, purpose, content_type, bytes, sha256, blob)"
            " SELECT uuidv7(), n::text, 'f', 'p', 't', 1, 's', n || '/files/x' FROM generate_series(1, 20000) AS n;"
            "INSERT INTO adapter (id, tenant, base, name, version, config, rank, blob, bytes, sha256, weights_sha256)"
            " SELECT uuidv7(), n::text, 'b', 'n', 1, '{}', 1, n || '/adapters/x', 1, 's', 's'"
            " FROM generate_series(1, 20000) AS n;"
            "ANALYZE"
        )
        arguments: dict[str, list[Any]] = {
            stored.BYTES: ["7"],
            stored.RESERVE: ["7", "7/jobs/y", 1, 1, 10],
            stored.SETTLE: ["7/jobs/x", 1],
            stored.FORGET: [["7/jobs/x", "8/jobs"]],
        }
        for statement, values in arguments.items():
            plan = "\n".join(row["QUERY PLAN"] for row in await connection.fetch(f"EXPLAIN {statement}", *values))
            assert "Seq Scan" not in plan, plan
