"""Files that jobs publish: listed once complete, one per job and name, published only by the worker with the job."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from consumers.stages.ports import Files
from infra.blobs.folder import FolderBlobs
from infra.blobs.s3 import MinioBlobs
from infra.files import PublishedFiles
from infra.postgres.database import Database
from infra.postgres.queries import files as queries
from infra.settings import RetentionSettings
from producers.retention import Retention
from schemas.errors import InvalidInput, LeaseLost, NotFound
from schemas.ids import parsed
from tests.integration.jobs import Jobs

MIB = 1 << 20
Store = FolderBlobs | MinioBlobs


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        await asyncio.sleep(0)
        yield piece


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


class Desk:
    """A running job that publishes, and what its tenant sees."""

    def __init__(self, jobs: Jobs, blobs: Any, job_id: UUID, epoch: int) -> None:
        self.jobs = jobs
        self.job_id = job_id
        self.epoch = epoch
        self.blobs = blobs
        self.files: Files = PublishedFiles(jobs.database, blobs, "w").of("default", job_id, epoch)

    async def listed(self, tenant: str = "default") -> list[asyncpg.Record]:
        async with self.jobs.database.connection() as connection:
            return await queries.files(connection, tenant, after=None, limit=100)

    async def names(self) -> list[str]:
        return sorted(row["filename"] for row in await self.listed())

    async def sweep(self) -> None:
        """Run retention, a day later."""
        await self.jobs.fetch("UPDATE blob_garbage SET due_at = now()")
        await Retention(self.jobs.database, self.blobs, RetentionSettings(jobs=timedelta(0))).round()

    async def stored(self) -> int:
        """How many blobs are below the job's folder."""
        count = 0
        async for epoch in self.blobs.names(f"default/jobs/{self.job_id.hex}"):
            count += len([one async for one in self.blobs.names(f"default/jobs/{self.job_id.hex}/{epoch}")])
        return count

    async def taken_over(self) -> "Desk":
        """The job in the hands of another worker."""
        await self.jobs.fetch("UPDATE job SET epoch = epoch + 1, worker = 'v' WHERE id = $1", self.job_id)
        desk = Desk(self.jobs, self.blobs, self.job_id, self.epoch + 1)
        desk.files = PublishedFiles(self.jobs.database, self.blobs, "v").of("default", self.job_id, self.epoch + 1)
        return desk


@pytest.fixture
async def desk(jobs: Jobs, blobs: Store) -> Desk:
    return Desk(jobs, blobs, *await jobs.running())


async def test_what_was_published_is_listed_and_holds_what_was_streamed(desk: Desk) -> None:
    file_id = await desk.files.publish(pieces(b"one\n", b"", b"two\n"), "out.jsonl", "batch_output", content_type="a/b")
    [row] = await desk.listed()
    assert row["id"] == parsed("file", file_id)
    assert (row["filename"], row["purpose"], row["content_type"], row["bytes"]) == (
        "out.jsonl",
        "batch_output",
        "a/b",
        8,
    )
    assert row["sha256"] == hashlib.sha256(b"one\ntwo\n").hexdigest()
    found = await desk.files.find(file_id)
    assert (found.filename, found.purpose, found.size) == ("out.jsonl", "batch_output", 8)
    assert await desk.blobs.get(found.blob) == b"one\ntwo\n"
    assert f"/{desk.job_id.hex}/{desk.epoch}/" in found.blob
    await desk.sweep()
    assert await desk.blobs.get(found.blob) == b"one\ntwo\n", "what is listed is no garbage"


async def test_nothing_is_listed_before_it_is_whole_or_when_the_stream_breaks(desk: Desk) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        assert await desk.names() == []
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await desk.files.publish(breaks(), "a", "result")
    assert await desk.names() == []
    await desk.sweep()
    assert await desk.stored() == 0


async def test_a_try_that_dies_between_bytes_and_row_lists_nothing_and_leaves_nothing(desk: Desk) -> None:
    class Dies:
        async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "") -> int:
            await desk.blobs.put_stream(key, chunks, content_type=content_type)
            raise asyncio.CancelledError

    dying = PublishedFiles(desk.jobs.database, Dies(), "w").of("default", desk.job_id, desk.epoch)
    with pytest.raises(asyncio.CancelledError):
        await dying.publish(pieces(b"whole"), "a", "result")
    assert (await desk.names(), await desk.stored()) == ([], 1)
    await desk.sweep()
    assert await desk.stored() == 0


async def test_a_stale_try_publishes_nothing_and_touches_nothing_of_the_next(desk: Desk) -> None:
    following = await desk.taken_over()
    theirs = await following.files.publish(pieces(b"theirs"), "a", "result")
    with pytest.raises(LeaseLost):
        await desk.files.publish(pieces(b"stale"), "a", "result")
    [row] = await desk.listed()
    assert row["id"] == parsed("file", theirs)
    await desk.sweep()
    assert await desk.blobs.get(row["blob"]) == b"theirs"
    assert await desk.stored() == 1


async def test_the_next_try_replaces_what_the_one_before_it_published(desk: Desk) -> None:
    await desk.files.publish(pieces(b"first"), "a", "result")
    await desk.files.publish(pieces(b"other"), "b", "result")
    await desk.files.publish(pieces(b"other"), "a", "log")
    stranger = Desk(desk.jobs, desk.blobs, *await desk.jobs.running())
    await stranger.files.publish(pieces(b"another job's"), "a", "result")
    following = await desk.taken_over()
    second = await following.files.publish(pieces(b"second"), "a", "result")
    assert await desk.names() == ["a", "a", "a", "b"]
    assert await desk.blobs.get((await following.files.find(second)).blob) == b"second"
    await desk.sweep()
    assert (await desk.stored(), await stranger.stored()) == (3, 1)


async def test_a_file_of_another_tenant_is_not_found(desk: Desk) -> None:
    file_id = await desk.files.publish(pieces(b"x"), "a", "result")
    others = PublishedFiles(desk.jobs.database, desk.blobs, "w").of("other", desk.job_id, desk.epoch)
    for files, id in ((others, file_id), (desk.files, "file_" + "0" * 32), (desk.files, "a")):
        with pytest.raises(NotFound):
            await files.find(id)


@pytest.mark.parametrize(
    ("filename", "purpose"), [("", "p"), ("a\nb", "p"), ("a" * 256, "p"), ("a", ""), ("a", "p" * 65)]
)
async def test_names_are_those_that_an_upload_could_have(desk: Desk, filename: str, purpose: str) -> None:
    with pytest.raises(InvalidInput):
        await desk.files.publish(pieces(b"x"), filename, purpose)
    await desk.files.publish(pieces(b"x"), "가/../나.txt", "p")
    assert await desk.names() == ["가/../나.txt"]


async def test_a_stream_is_never_whole_in_memory(desk: Desk) -> None:
    piece = bytes(MIB)
    tracemalloc.start()
    try:
        await desk.files.publish(pieces(*[piece] * 128), "a", "result")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (await desk.listed())[0]["bytes"] == 128 * MIB
    assert peak < 64 * MIB
