"""The catalogue on real PostgreSQL: versions, the texts that documents name, and what outlives them."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from consumers.opening import opened
from consumers.reporting import Reporter
from consumers.stages.context import Unread
from infra.postgres.database import Database
from infra.postgres.queries import rebuilds
from schemas.catalogue import CollectionRecord, Recorded, Standing, StoredDocument
from schemas.collections import CollectionSettings
from schemas.errors import Conflict, InvalidInput
from schemas.kinds.indexing import IndexingInput
from schemas.kinds.indexing.carries import Numbered
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs
from tests.integration.whole_catalogue import PostgresCatalogue


class Desk:
    """One collection, and jobs that write into it."""

    def __init__(self, database: Database) -> None:
        self.catalogue = PostgresCatalogue(database)
        self.jobs = Jobs(database)
        self.database = database

    async def job(self) -> UUID:
        [job] = await self.jobs.submit(kind="indexing", stage="plan")
        return job

    async def begin(self, job: UUID | None = None) -> tuple[CollectionRecord, int]:
        return await self.catalogue.begin(
            job or await self.job(), "t", "c", settings=CollectionSettings(), encoder="kiwi", embedder=None
        )

    async def write(self, version: int, blob: str, *names: str) -> set[str]:
        """Record documents of one blob; returns the names of those that are now current."""
        return set((await self.recorded(version, blob, *names)).changed)

    async def recorded(self, version: int, blob: str, *names: str, expect: bool = True) -> Recorded:
        """Record documents of one blob."""
        record = await self.catalogue.collection("t", "c")
        if expect:
            await self.catalogue.expect_source(blob, UUID(int=version))
        documents = [StoredDocument(name, version, f"h{version}", 1, 1, (blob, 0, 1)) for name in names]
        recorded = await self.catalogue.record("t", "c", record.generation, version, documents)
        assert recorded.standing is Standing.NAMED
        return recorded

    async def garbage(self) -> set[str]:
        """The blobs that are due to be deleted now."""
        return {row["blob"] for row in await self.jobs.fetch("SELECT blob FROM blob_garbage WHERE due_at <= now()")}

    async def drop(self) -> None:
        await self.catalogue.drop("t", "c", made_before=datetime.now(UTC) + timedelta(hours=1))

    async def remove_deleted(self) -> int:
        async with self.database.connection() as connection:
            return await rebuilds.remove_deleted(connection, 100)


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


async def test_a_job_keeps_its_version_until_the_collection_is_another(desk: Desk) -> None:
    job = await desk.job()
    first, version = await desk.begin(job)
    assert (await desk.begin(job))[1] == version > first.born
    await desk.drop()
    second, later = await desk.begin(job)
    assert later > second.born > version


async def test_a_plan_that_broke_off_is_given_the_version_it_drew(desk: Desk) -> None:
    """The version is in the job's row, where a stage finds what was handed on to it."""
    given = IndexingInput(collection="c", delete=["a"]).model_dump_json()
    [job] = await desk.jobs.submit(kind="indexing", stage="plan", input=given)
    [row] = await desk.jobs.claim(job)
    assert opened(row, Reporter(desk.jobs.database, row), Unread())[1].carry is None
    _, version = await desk.begin(job)
    await desk.jobs.finish(job, row.epoch, JobState.QUEUED)
    [row] = await desk.jobs.claim(job)
    assert opened(row, Reporter(desk.jobs.database, row), Unread())[1].carry == Numbered(version=version)


async def test_many_jobs_make_one_collection(desk: Desk) -> None:
    begun = await asyncio.gather(*(desk.begin() for _ in range(8)))
    assert len({record.born for record, _ in begun}) == 1
    assert len({version for _, version in begun}) == 8
    assert await desk.catalogue.leftovers("t", "c") == []


async def test_the_last_two_documents_of_a_text_may_leave_it_at_once(desk: Desk) -> None:
    for number in range(10):
        (_, first), (_, one), (_, other) = [await desk.begin() for _ in range(3)]
        await desk.write(first, f"shared-{number}", "a", "b")
        assert f"shared-{number}" not in await desk.garbage()
        await asyncio.gather(desk.write(one, f"a-{number}", "a"), desk.write(other, f"b-{number}", "b"))
        assert f"shared-{number}" in await desk.garbage()


async def test_a_text_stays_while_a_document_names_it(desk: Desk) -> None:
    (_, first), (_, second), (_, third) = [await desk.begin() for _ in range(3)]
    await desk.write(first, "shared", "a", "b")
    await desk.write(second, "other", "a")
    assert await desk.garbage() == set()
    assert (await desk.catalogue.forget("t", "c", third, ["b", "nobody"])).changed == {"b"}
    assert await desk.garbage() == {"shared"}
    assert await desk.jobs.fetch("SELECT blob FROM blob_garbage WHERE blob = 'other'") == []


async def test_what_no_document_names_in_the_end_remains_garbage(desk: Desk) -> None:
    (_, first), (_, second) = [await desk.begin() for _ in range(2)]
    await desk.write(second, "newer", "a")
    assert await desk.write(first, "older", "a") == set()
    assert [row["blob"] for row in await desk.jobs.fetch("SELECT blob FROM blob_garbage")] == ["older"]


async def test_of_jobs_that_write_one_new_id_at_once_one_has_added_it(desk: Desk) -> None:
    for number in range(10):
        begun = [await desk.begin() for _ in range(10)]
        found = await asyncio.gather(*(desk.recorded(version, f"{number}-{version}", "a") for _, version in begun))
        assert sum(len(recorded.added) for recorded in found) == 1
        again = await asyncio.gather(
            *(desk.recorded(version, f"{number}-{version}", "a", expect=False) for _, version in begun)
        )
        assert [one.added for one in again] == [one.added for one in found], "a repeated try tells the same"
        await desk.catalogue.forget("t", "c", (await desk.begin())[1], ["a"])


async def test_a_text_that_waited_too_long_is_not_named(desk: Desk) -> None:
    record, version = await desk.begin()
    documents = [StoredDocument("a", version, "h", 1, 1, ("gone", 0, 1))]
    recorded = await desk.catalogue.record("t", "c", record.generation, version, documents)
    assert recorded.standing is Standing.SOURCE_LOST
    assert await desk.catalogue.documents("t", "c", ["a"]) == {}


async def test_recording_again_changes_nothing(desk: Desk) -> None:
    record, version = await desk.begin()
    assert await desk.write(version, "texts", "a") == {"a"}
    documents = list((await desk.catalogue.documents("t", "c", ["a"])).values())
    again = await desk.catalogue.record("t", "c", record.generation, version, documents)
    assert (again.standing, again.changed) == (Standing.NAMED, {"a"})
    assert await desk.jobs.fetch("SELECT blob FROM blob_garbage") == []


async def test_the_same_content_again_keeps_older_jobs_out(desk: Desk) -> None:
    (_, first), (_, second), (_, third) = [await desk.begin() for _ in range(3)]
    await desk.write(first, "texts", "a", "b")
    assert await desk.catalogue.touch("t", "c", third, {"a": f"h{first}", "b": "another", "x": "unknown"}) == {"a"}
    assert await desk.write(second, "late", "a", "b") == {"b"}
    current = await desk.catalogue.documents("t", "c", ["a"])
    assert (current["a"].version, current["a"].content_hash) == (first, f"h{first}")


async def test_a_dropped_collection_leaves_its_index_and_texts_to_be_removed(desk: Desk) -> None:
    record, version = await desk.begin()
    await desk.write(version, "t/collections/c/texts", "a")
    await desk.catalogue.drop("t", "c", made_before=datetime.now(UTC) - timedelta(hours=1))
    assert (await desk.catalogue.collection("t", "c")).documents, "a job that began before leaves it alone"
    await desk.drop()
    assert await desk.garbage() == {f"t/collections/c/{record.born}"}
    assert await desk.catalogue.leftovers("t", "c") == [record.generation]
    async with desk.catalogue.hold("t", "c", record.generation, dimension=None, learned=False) as named:
        assert not named
    assert await desk.catalogue.standing("t", "c", record.generation, version) is Standing.GONE
    await desk.catalogue.let_go("t", "c", record.generation)
    assert await desk.catalogue.leftovers("t", "c") == []


async def test_a_job_of_a_dropped_collection_cannot_write_into_one_of_the_same_name(desk: Desk) -> None:
    _, early = await desk.begin()
    await desk.drop()
    again, version = await desk.begin()
    await desk.write(version, "texts", "a")
    assert await desk.catalogue.standing("t", "c", again.generation, early) is Standing.GONE
    assert (await desk.catalogue.forget("t", "c", early, ["b"])).standing is Standing.GONE
    documents = [StoredDocument("b", early, "h", 1, 1, ("other", 0, 1))]
    assert (await desk.catalogue.record("t", "c", again.generation, early, documents)).standing is Standing.GONE
    assert [row["id"] for row in await desk.jobs.fetch("SELECT id FROM document")] == ["a"]


async def test_a_drop_waits_for_an_index_that_is_being_made(desk: Desk) -> None:
    record, _ = await desk.begin()
    async with desk.catalogue.hold("t", "c", record.generation, dimension=None, learned=False) as named:
        assert named
        dropping = asyncio.create_task(desk.drop())
        await desk.jobs.until_blocked(1, "DELETE FROM collection")
    await dropping
    assert await desk.catalogue.leftovers("t", "c") == [record.generation]


async def test_the_first_dimension_holds(desk: Desk) -> None:
    record, _ = await desk.begin()
    place = ("t", "c", record.generation)
    async with desk.catalogue.hold(*place, dimension=4, learned=True) as named:
        assert named
    noted = await desk.catalogue.collection("t", "c")
    assert (noted.dimension, noted.learned) == (4, True)
    with pytest.raises(Conflict) as caught:
        async with desk.catalogue.hold(*place, dimension=5, learned=True):
            raise AssertionError("held with another dimension")
    assert caught.value.reason == "dimension_mismatch"


async def test_fields_are_gathered_up_to_a_thousand(desk: Desk) -> None:
    await desk.begin()
    for names in (["year", "topic"], ["topic"], [f"f{n:04d}" for n in range(1100)]):
        await desk.catalogue.add_fields("t", "c", names)
    fields = (await desk.catalogue.collection("t", "c")).fields
    assert len(fields) == 1000
    assert {"year", "topic", "f0000"} <= fields


async def test_settings_change_without_touching_what_shapes_vectors(desk: Desk) -> None:
    record, _ = await desk.begin()
    await desk.catalogue.change("t", "c", {"sparse": {"k1": 2.0, "correct_spacing": True}, "fusion": {"rrf_k": 5}})
    settings = (await desk.catalogue.collection("t", "c")).settings
    assert settings == record.settings.changed({"sparse": {"correct_spacing": True}, "fusion": {"rrf_k": 5}})
    with pytest.raises(InvalidInput) as caught:
        await desk.catalogue.change("t", "c", {"fusion": {"weights": {"sparse": 0, "dense": 0, "learned": 0}}})
    assert caught.value.field == "input.settings.fusion.weights"


async def test_a_rebuild_is_one_jobs_until_that_job_ends(desk: Desk) -> None:
    await desk.begin()
    one, other = await desk.job(), await desk.job()
    given = {"sparse": {"k1": 2.0}}
    building = await desk.catalogue.start_building(one, "t", "c", given, encoder="new", embedder="m")
    assert await desk.catalogue.start_building(one, "t", "c", given, encoder="new", embedder="m") == building
    with pytest.raises(Conflict) as caught:
        await desk.catalogue.start_building(other, "t", "c", {}, encoder="new", embedder="m")
    assert caught.value.reason == "rebuild_running"
    await desk.catalogue.abandon("t", "c")
    assert (await desk.catalogue.collection("t", "c")).building == building, "its job lives"
    await desk.jobs.cancel(one, "default")
    taken = await desk.catalogue.start_building(other, "t", "c", {}, encoder="new", embedder="m")
    assert await desk.catalogue.leftovers("t", "c") == [building.generation]
    assert await desk.catalogue.swap("t", "c", building.generation) is False
    assert await desk.catalogue.swap("t", "c", taken.generation) is True
    record = await desk.catalogue.collection("t", "c")
    assert (record.generation, record.encoder, record.embedder, record.building) == (taken.generation, "new", "m", None)


async def test_a_swap_waits_for_writers_and_sees_what_they_wrote(desk: Desk) -> None:
    _, version = await desk.begin()
    building = await desk.catalogue.start_building(await desk.job(), "t", "c", {}, encoder="new", embedder=None)
    await desk.write(version, "texts", "a")
    assert not await desk.catalogue.swap("t", "c", building.generation)
    [unbuilt] = await desk.catalogue.unbuilt("t", "c", building.generation, limit=10)
    assert (unbuilt.id, unbuilt.version, unbuilt.source) == ("a", version, ("texts", 0, 1))
    assert (await desk.catalogue.built("t", "c", building.generation, [("a", version - 1, 1)])).changed == set()
    assert (await desk.catalogue.built("t", "c", building.generation, [("a", version, 3)])).changed == {"a"}
    assert await desk.catalogue.swap("t", "c", building.generation)
    assert (await desk.catalogue.built("t", "c", building.generation, [("a", version, 3)])).standing is Standing.GONE


async def test_a_seal_ends_by_itself(desk: Desk) -> None:
    record, version = await desk.begin()
    building = await desk.catalogue.start_building(await desk.job(), "t", "c", {}, encoder="new", embedder=None)
    await desk.catalogue.seal("t", "c", building.generation, 60)
    assert await desk.catalogue.standing("t", "c", record.generation, version) is Standing.SEALED
    assert (await desk.catalogue.forget("t", "c", version, ["a"])).standing is Standing.SEALED
    await desk.catalogue.seal("t", "c", building.generation, 0)
    assert await desk.catalogue.standing("t", "c", record.generation, version) is Standing.NAMED


async def test_the_row_of_a_deleted_document_outlives_the_jobs_that_were_before_it(desk: Desk) -> None:
    early = await desk.job()
    job = await desk.job()
    _, version = await desk.begin(job)
    await desk.write(version, "texts", "a", "b")
    await desk.catalogue.forget("t", "c", version, ["a"])
    await desk.jobs.fetch("UPDATE job SET created_at = created_at - interval '3 days', state = 'succeeded'")
    assert await desk.remove_deleted() == 0, "it is not old enough"
    await desk.jobs.fetch("UPDATE document SET updated_at = updated_at - interval '2 days'")
    await desk.jobs.fetch("UPDATE job SET state = 'retry_wait' WHERE id = $1", early)
    assert await desk.remove_deleted() == 0, "a job of before may still write it"
    await desk.jobs.fetch("UPDATE job SET state = 'failed' WHERE id = $1", early)
    await desk.catalogue.start_building(await desk.job(), "t", "c", {}, encoder="new", embedder=None)
    assert await desk.remove_deleted() == 0, "a rebuild has still to remove its points"
    await desk.jobs.fetch("UPDATE job SET state = 'failed'")
    await desk.catalogue.abandon("t", "c")
    assert await desk.remove_deleted() == 1
    assert [row["id"] for row in await desk.jobs.fetch("SELECT id FROM document")] == ["b"]
