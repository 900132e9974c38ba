"""Owners look at jobs: what they see is theirs, in order, and counted right."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import uuid_utils.compat as uuids

from infra.blobs.folder import FolderBlobs
from infra.files import PublishedFiles
from infra.postgres.queries import catalogue, files, keys, listing, reading
from infra.postgres.queries.files import NewFile
from schemas.catalogue import StoredDocument
from schemas.collections import CollectionSettings
from schemas.errors import NotFound
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs, record_file
from tests.integration.whole_catalogue import PostgresCatalogue

S = JobState


async def page(jobs: Jobs, tenant: str = "default", **given: Any) -> list[UUID]:
    wanted: dict[str, Any] = {"kind": None, "state": None, "parent": None, "after": None, "limit": 100} | given
    async with jobs.database.connection() as connection:
        return [row["id"] for row in await listing.jobs(connection, tenant, **wanted)]


async def test_a_job_is_seen_by_its_tenant_only(jobs: Jobs) -> None:
    [mine] = await jobs.submit(tenant="a")
    async with jobs.database.connection() as connection:
        seen = await reading.job(connection, mine, "a")
        assert seen is not None
        assert seen["state"] == "queued"
        assert await reading.job(connection, mine, "b") is None
        assert await reading.job(connection, uuid4(), "a") is None
    assert await page(jobs, "a") == [mine]
    assert await page(jobs, "b") == []


async def test_pages_are_newest_first_and_follow_on(jobs: Jobs) -> None:
    ids = await jobs.submit(7)
    assert await page(jobs, limit=3) == ids[:3:-1]
    assert await page(jobs, limit=3, after=ids[4]) == ids[3:0:-1]
    assert await page(jobs, after=ids[0]) == []


async def test_lists_are_filtered_by_kind_state_and_parent(jobs: Jobs) -> None:
    [other] = await jobs.submit(kind="inference", stage="retrieve")
    running, _ = await jobs.running()
    root, children = await jobs.parent(2)
    assert await page(jobs, kind="inference") == [other]
    assert await page(jobs, state="running") == [root, running]
    assert await page(jobs, parent=root) == children[::-1]
    assert await page(jobs, parent=root, state="running") == []
    assert not set(await page(jobs)) & set(children)
    assert await page(jobs, "another", parent=root) == []


async def test_children_are_counted_by_state(jobs: Jobs) -> None:
    root, [first, second, *_] = await jobs.parent(5)
    await jobs.end(first)
    await jobs.end(second, S.FAILED)
    childless, _ = await jobs.running()
    async with jobs.database.connection() as connection:
        counts = await reading.children(connection, [root, childless])
    assert counts == {root: {"succeeded": 1, "failed": 1, "queued": 3}}


async def test_those_that_ended_are_named(jobs: Jobs) -> None:
    done, epoch = await jobs.running()
    await jobs.finish(done, epoch, S.SUCCEEDED)
    [live] = await jobs.submit()
    async with jobs.database.connection() as connection:
        assert await reading.ended(connection, [done, live, uuid4()]) == {done}


async def test_events_tell_a_life_in_order_and_follow_on(jobs: Jobs) -> None:
    job_id, epoch = await jobs.running()
    await jobs.finish(job_id, epoch, S.RETRY_WAIT, delay_s=0, error='{"code": "x"}')
    await jobs.running()

    async def followed(after: int, limit: int) -> tuple[list[asyncpg.Record], bool]:
        async with jobs.database.connection() as connection:
            [found] = await reading.followed(connection, [(job_id, after)], limit)
        return found

    events, ended = await followed(0, 100)
    assert not ended
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    assert (await followed(events[0]["id"], 100))[0] == events[1:]
    assert (await followed(0, 1))[0] == events[:1]
    assert await jobs.history(job_id) == ["running", "retry_wait"]


async def test_many_places_are_read_at_once_each_to_its_own_end(jobs: Jobs) -> None:
    live, _ = await jobs.running()
    [done] = await jobs.submit()
    await jobs.end(done)
    gone = uuid4()
    async with jobs.database.connection() as connection:
        found = await reading.followed(connection, [(done, 0), (live, 0), (gone, 0), (live, 2**62), (done, 0)], 2)
        beyond = await reading.followed(connection, [(done, found[0][0][-1]["id"])], 2)
    assert [(len(events), ended) for events, ended in found] == [
        (2, False),
        (1, False),
        (0, True),
        (0, False),
        (2, False),
    ]
    assert beyond == [([], True)], "a full page may have another after it"


async def test_queues_and_running_jobs_are_counted_by_topic(jobs: Jobs) -> None:
    await jobs.submit(3)
    await jobs.submit(lane="bulk")
    await jobs.running()
    await jobs.parent(1)  # it waits without a worker, so it does not count as running; its child is queued
    await jobs.fetch("UPDATE job SET due_at = now() - interval '9 s' WHERE lane = 'bulk'")

    def counts(rows: list[asyncpg.Record]) -> dict[tuple[str, str, str], int]:
        return {(row["kind"], row["stage"], row["lane"]): row["jobs"] for row in rows}

    async with jobs.database.connection() as connection:
        queues, running = await reading.queues(connection), await reading.running(connection)
    assert counts(queues) == {("noop", "run", "interactive"): 4, ("noop", "run", "bulk"): 1}
    assert [row["age_s"] > 8 for row in queues if row["lane"] == "bulk"] == [True]
    assert counts(running) == {("noop", "run", "interactive"): 1}


async def test_files_belong_to_their_tenant(jobs: Jobs) -> None:
    made = [uuids.uuid7() for _ in range(3)]
    about: dict[str, Any] = {
        "filename": "a.txt",
        "purpose": "corpus",
        "content_type": "text/plain",
        "bytes": 3,
        "sha256": "x",
    }
    async with jobs.database.connection() as connection:
        for file_id in made:
            await record_file(connection, NewFile(id=file_id, tenant="a", blob=f"a/{file_id}", **about))
        assert await files.file(connection, made[0], "b") is None
        assert await files.files(connection, "b", after=None, limit=10) == []
        assert [row["id"] for row in await files.files(connection, "a", after=made[2], limit=10)] == made[1::-1]
        assert await files.delete(connection, made[0], "b") is None
        removed = await files.delete(connection, made[0], "a")
        assert removed is not None
        assert removed["blob"] == f"a/{made[0]}"
        assert await files.delete(connection, made[0], "a") is None


async def test_a_collections_state_tells_whether_it_is_still_as_it_was_read(jobs: Jobs) -> None:
    stored = PostgresCatalogue(jobs.database)
    [job] = await jobs.submit(1)
    record, version = await stored.begin(job, "a", "ko", settings=CollectionSettings(), encoder="kiwi", embedder=None)

    async def write(id: str) -> None:
        await stored.expect_source(f"a/{id}", job)
        documents = [StoredDocument(id, version, "h", 1, 1, (f"a/{id}", 0, 1))]
        assert (await stored.record("a", "ko", record.generation, version, documents)).changed == {id}

    async def state() -> str | None:
        now = (await stored.holding("a", "ko", [])).state
        assert now == (await stored.collection("a", "ko")).state
        return now

    states = [await state()]
    assert states == [record.state]
    await write("d1")
    states.append(await state())
    await stored.add_fields("a", "ko", ["year"])
    states.append(await state())
    await stored.change("a", "ko", {"fusion": {"per_document": 1}})
    states.append(await state())
    assert len(set(states)) == len(states)
    await write("d2")
    assert await state() == states[-1], "writing documents makes no search begin anew"
    remembered = stored.remembered("a", "ko")
    assert remembered is not None
    assert remembered.state == states[-1]
    await stored.drop("a", "ko", made_before=datetime.now(UTC) + timedelta(days=1))
    assert (await stored.holding("a", "ko", [])).state is None


async def test_collections_belong_to_their_tenant(jobs: Jobs) -> None:
    stored = PostgresCatalogue(jobs.database)
    [one, other] = await jobs.submit(2)
    record, version = await stored.begin(
        one, "a", "ko", settings=CollectionSettings(), encoder="kiwi", embedder="bge-m3"
    )
    await stored.begin(other, "b", "ko", settings=CollectionSettings(), encoder="kiwi", embedder=None)
    documents = [StoredDocument(name, version, "h1", 2, 10, ("a/texts", at, 1)) for at, name in enumerate(("d2", "d1"))]
    await stored.expect_source("a/texts", uuid4())
    assert (await stored.record("a", "ko", record.generation, version, documents)).changed == {"d1", "d2"}
    assert await stored.documents("a", "ko", ["d1", "d9"]) == {"d1": documents[1]}
    assert (await stored.holding("a", "ko", ["d1", "d9"])).stamps == {"d1": documents[1].stamp}
    assert await stored.documents("b", "ko", ["d1"]) == {}
    assert ((await stored.collection("a", "ko")).documents, (await stored.collection("b", "ko")).documents) == (
        True,
        False,
    )
    async with jobs.database.connection() as connection:
        [row] = await catalogue.collections(connection, "a", None, 10)
        assert (row["name"], row["documents"], row["chunks"], row["bytes"]) == ("ko", 2, 4, 20)
        assert (row["encoder"], row["embedder"], row["building_job"]) == ("kiwi", "bge-m3", None)
        assert await catalogue.whole_collection(connection, "a", "other") is None
        assert (await catalogue.is_empty(connection, "a", "ko"), await catalogue.is_empty(connection, "b", "ko")) == (
            False,
            True,
        )
    await stored.drop("b", "ko", made_before=datetime.now(UTC) + timedelta(minutes=1))
    with pytest.raises(NotFound):
        await stored.collection("b", "ko")
    assert (await stored.collection("a", "ko")).documents


async def test_a_revoked_key_has_no_owner(jobs: Jobs) -> None:
    key_id = uuid4()
    async with jobs.database.connection() as connection:
        await keys.create(connection, key_id, "new-tenant", "laptop", "welip_abc", b"digest")
        assert await keys.owner(connection, b"digest") == ("new-tenant", False, "laptop")
        assert [row["id"] for row in await keys.every(connection, "new-tenant")] == [key_id]
        assert await keys.every(connection, "default") == []
        assert await keys.revoke(connection, key_id)
        assert not await keys.revoke(connection, key_id)
        assert await keys.owner(connection, b"digest") is None
        assert len(await keys.every(connection, None)) == 1


async def test_files_are_listed_both_ways_and_by_what_they_are_for(jobs: Jobs) -> None:
    made = [uuids.uuid7() for _ in range(4)]
    async with jobs.database.connection() as connection:
        for number, file_id in enumerate(made):
            purpose = ("corpus", "batch")[number % 2]
            await record_file(connection, _file(file_id, purpose=purpose))

        async def listed(**asked: Any) -> list[int]:
            rows = await files.files(connection, "a", **{"after": None, "limit": 10, **asked})
            return [made.index(row["id"]) for row in rows]

        assert await listed() == [3, 2, 1, 0]
        assert await listed(newest_first=False) == [0, 1, 2, 3]
        assert await listed(purpose="batch") == [3, 1]
        assert await listed(purpose="batch", newest_first=False, after=made[1]) == [3]
        assert await listed(after=made[2], limit=1) == [1]


async def test_an_expired_file_is_visible_to_nobody(jobs: Jobs, tmp_path: Path) -> None:
    gone, there = uuids.uuid7(), uuids.uuid7()
    async with jobs.database.connection() as connection:
        await record_file(connection, _file(gone, lives_s=-1.0))
        await record_file(connection, _file(there, lives_s=3600.0))
        assert [row["id"] for row in await files.files(connection, "a", after=None, limit=10)] == [there]
        assert await files.file(connection, gone, "a") is None
        assert await files.delete(connection, gone, "a") is None
    with pytest.raises(NotFound):
        await PublishedFiles(jobs.database, FolderBlobs(tmp_path), "w").of("a", gone, 1).find(f"file_{gone.hex}")


def _file(file_id: UUID, *, purpose: str = "corpus", lives_s: float | None = None) -> NewFile:
    return NewFile(
        id=file_id,
        tenant="a",
        filename="a.txt",
        purpose=purpose,
        content_type="text/plain",
        bytes=3,
        sha256="x",
        blob=f"a/{file_id}",
        lives_s=lives_s,
    )
