"""Indexing from submission to result: what is added, replaced, left alone, refused, removed and rebuilt."""

import asyncio
import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from consumers.stages.context import StageJob
from consumers.stages.indexing import embed, plan, prepare, reading, report, upsert
from consumers.stages.ports import ChildSummary
from consumers.stages.registry import stage
from schemas.errors import Conflict, DependencyMissing, InvalidInput, JobError, NotFound
from schemas.kinds.indexing import IndexingInput, IndexingResult
from schemas.kinds.indexing.carries import PartPoints
from schemas.kinds.indexing.parts import PartInput
from schemas.lifecycle import JobState
from schemas.outcomes import Child, Done, Fail, FanOut, Next, Outcome, Snooze
from schemas.requester import Requester
from schemas.retrieval import IndexName, Point
from schemas.topics import Lane
from tests.unit.ports_in_memory import World
from tests.unit.texts_in_memory import LengthEmbedder

S = JobState
UNKNOWN_FILE = "file_" + "0" * 32


async def run(world: World, job: StageJob[Any, Any], outcome: Outcome) -> Outcome:
    """Follow outcomes as the executor does, without failures, to the job's end."""
    while isinstance(outcome, Next | FanOut):
        if isinstance(outcome, FanOut):
            job = replace(job, rounds=job.rounds + 1)
            for child in outcome.children:
                world.children.summaries.append(await run_part(world, child, job.rounds))
            outcome = Next(outcome.then, outcome.carry)
        following = world.again(job, stage=outcome.stage, carry=outcome.carry)
        outcome = await stage("indexing", outcome.stage)(following, world.ports)
    return outcome


async def run_part(world: World, child: Child, round: int) -> ChildSummary:
    assert child.stage is not None
    job = world.job(child.kind, child.stage, child.input)
    try:
        part = await run(world, job, Next(child.stage))
    except JobError as error:
        return summary(child, round, S.FAILED, error={"code": error.reason, "message": error.message})
    assert isinstance(part, Done)
    return summary(child, round, S.SUCCEEDED, result=part.result)


def summary(child: Child, round: int, state: JobState, **how: Any) -> ChildSummary:
    assert isinstance(child.input, BaseModel)
    told = child.input.model_dump(mode="json")
    return ChildSummary(child.key, child.kind, round, state, told, how.get("result"), how.get("error"), uuid4())


def planning(world: World, **request: Any) -> StageJob[Any, Any]:
    given = IndexingInput.model_validate({"collection": "c", **request})
    world.children.summaries = []
    return world.job("indexing", "plan", given)


async def index(world: World, **request: Any) -> dict[str, Any]:
    """Run a whole indexing job and return its result. Raises the error with which it fails."""
    job = planning(world, **request)
    outcome = await run(world, job, Next("plan"))
    world.catalogue.ended.add(job.id)
    if isinstance(outcome, Fail):
        raise outcome.error
    assert isinstance(outcome, Done)
    return outcome.result


def documents(**texts: str) -> list[dict[str, Any]]:
    return [{"id": name, "text": text} for name, text in texts.items()]


def left_over(world: World) -> list[str]:
    return [key for key in world.blobs.data if "/jobs/" in key]


async def points(world: World) -> list[Point]:
    """The points in the index that is searched."""
    record = await world.catalogue.collection("t", "c")
    return list(world.index.points[IndexName("t", "c", record.generation)].values())


async def seen(world: World) -> dict[str, str]:
    """The text of each document as searches see it; fails when the index holds anything else."""
    found: dict[str, str] = {}
    for point in sorted(await points(world), key=lambda point: (point.document_id, point.start)):
        current = (await world.catalogue.holding("t", "c", [point.document_id])).stamps
        assert point.content_hash == current[point.document_id], f"an orphan: {point}"
        found[point.document_id] = f"{found.get(point.document_id, '')}{point.text}"
    return found


async def test_documents_are_added_and_no_garbage_is_left() -> None:
    world = World()
    result = await index(world, documents=documents(a="하나. 둘.", b="셋."))
    assert result["documents"] == {
        "added": 2, "replaced": 0, "unchanged": 0, "superseded": 0, "deleted": 0, "failed": 0,
    }  # fmt: skip
    assert result["chunks"] == len(await points(world)) == 2
    assert left_over(world) == []
    assert await seen(world) == {"a": "하나. 둘.", "b": "셋."}


async def test_a_tenant_makes_one_index_at_a_time_however_many_collections_are_new() -> None:
    made: list[str] = []
    making: set[str] = set()

    def slow(world: World, name: str) -> None:
        ensure = world.index.ensure

        async def ensured(index: IndexName, **arms: Any) -> None:
            assert not making, "a connection is held for each"
            making.add(name)
            await asyncio.sleep(0.01)
            await ensure(index, **arms)
            making.remove(name)
            made.append(name)

        world.index.ensure = ensured  # type: ignore[method-assign]

    worlds = {f"c{number}": World() for number in range(4)}
    for name, world in worlds.items():
        slow(world, name)
    await asyncio.gather(
        *(index(world, collection=name, documents=documents(a="글.")) for name, world in worlds.items())
    )
    assert sorted(made) == sorted(worlds)


async def test_the_same_content_is_not_encoded_again() -> None:
    world = World()
    await index(world, documents=documents(a="하나."))
    world.sparse.analysed.clear()
    result = await index(world, documents=documents(a="하나."))
    assert (result["documents"]["unchanged"], result["chunks"]) == (1, 0)
    assert world.sparse.analysed == []
    assert left_over(world) == []


@pytest.mark.parametrize(
    "change", [{"text": "둘."}, {"title": "제목"}, {"metadata": {"k": 1}}], ids=["text", "title", "metadata"]
)
async def test_a_change_replaces_every_old_chunk(change: dict[str, Any]) -> None:
    world = World()
    await index(world, documents=documents(a="하나.", b="남는다."))
    result = await index(world, documents=[{"id": "a", "text": "하나.", **change}])
    assert result["documents"]["replaced"] == 1
    assert await seen(world) == {"a": change.get("text", "하나."), "b": "남는다."}


async def test_title_and_heading_are_weighed_but_not_stored_in_the_text() -> None:
    world = World()
    await index(world, documents=[{"id": "a", "title": "제목", "text": "# 머리\n본문."}])
    (point,) = await points(world)
    assert (point.title, point.heading, point.text) == ("제목", "머리", "# 머리\n본문.")
    settings = (await world.catalogue.collection("t", "c")).settings.sparse
    terms = await world.sparse.encode_query("제목 머리 본문", settings, by=Requester("t", Lane.BULK))
    assert set(terms.indices) == set(point.sparse.indices)


async def test_offsets_point_into_the_document_also_of_one_that_is_analysed_in_pieces() -> None:
    world = World()
    text = " ".join(f"문장 {n}은 여기 있다." for n in range(20_000))
    result = await index(world, documents=documents(a=text), chunking={"max_chars": 50})
    found = await points(world)
    assert result["chunks"] == len(found) > 1000
    assert all(text[p.start : p.end] == p.text for p in found)
    assert len(world.sparse.analysed) > 2


async def test_refused_documents_do_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 20_000_000)
    world = World()
    refused = [
        {"id": "empty", "text": " "},
        {"id": "missing", "file": UNKNOWN_FILE},
        {"id": "huge", "file": world.upload(b"a" * 20_000_001)},
        {"id": "long", "file": world.upload(b"b" * 10_000_001)},
        {"id": "number", "text": "x", "metadata": {"n": 2**63}},
    ]
    ok = {"id": "ok", "file": world.upload("셋.".encode())}
    result = await index(world, documents=[*refused, ok, {"id": "ok", "text": "again"}])
    assert [(error["id"], error["code"]) for error in result["errors"]] == [
        ("missing", "file_not_found"),
        ("ok", "duplicate_id"),
        ("empty", "document_empty"),
        ("huge", "document_too_large"),
        ("long", "document_too_large"),
        ("number", "metadata_invalid"),
    ]
    assert (result["documents"]["added"], result["documents"]["failed"]) == (1, 6)
    assert await seen(world) == {"ok": "셋."}


async def test_a_row_with_the_id_of_a_document_of_the_request_is_refused() -> None:
    world = World()
    corpus = {"file": world.upload(b"id\ttext\na\tx\nb\ty\n"), "format": "tsv", "id": "id"}
    result = await index(world, documents=documents(a="하나."), corpus=corpus)
    assert [(error["id"], error["code"]) for error in result["errors"]] == [("a", "duplicate_id")]
    assert await seen(world) == {"a": "하나.", "b": "y"}


async def test_nothing_but_unknown_files_ends_without_children() -> None:
    result = await index(World(), documents=[{"id": "a", "file": UNKNOWN_FILE}])
    assert (result["documents"]["failed"], result["errors"][0]["code"]) == (1, "file_not_found")


async def test_delete_and_drop() -> None:
    world = World()
    await index(world, documents=documents(a="하나.", b="둘."))
    assert (await index(world, delete=["a", "nobody"]))["documents"]["deleted"] == 1
    assert await seen(world) == {"b": "둘."}
    await index(world, drop=True)
    assert (world.index.points, world.catalogue.shelves, world.catalogue.generations) == ({}, {}, {})
    await index(world, drop=True)
    with pytest.raises(NotFound):
        await index(world, delete=["b"])


async def test_a_repeated_drop_spares_a_collection_that_was_made_since() -> None:
    world = World()
    await index(world, documents=documents(a="하나."))
    dropping = planning(world, drop=True)
    await plan.run(dropping, world.ports)
    await index(world, documents=documents(b="둘."))
    await plan.run(world.again(dropping), world.ports)
    assert await seen(world) == {"b": "둘."}


async def test_a_repeated_deletion_counts_what_it_deleted_and_spares_what_came_since() -> None:
    world = World()
    await index(world, documents=documents(a="하나.", b="둘."))
    deleting = planning(world, delete=["a", "b", "nobody"])
    await plan.run(deleting, world.ports)
    await index(world, documents=documents(b="새 둘."))
    again = await plan.run(world.again(deleting), world.ports)
    assert isinstance(again, Done)
    assert again.result["documents"]["deleted"] == 1
    assert await seen(world) == {"b": "새 둘."}


async def test_dense_vectors_are_added_where_there_is_an_embedder() -> None:
    world = World(embedder=LengthEmbedder())
    await index(world, documents=[{"id": "a", "title": "제목", "text": "하나."}])
    (point,) = await points(world)
    assert point.dense == pytest.approx((await LengthEmbedder().embed_query("제목\n하나.")).dense)
    assert left_over(world) == []
    assert (await world.catalogue.collection("t", "c")).dimension == 2
    world.embedder = None
    with pytest.raises(Conflict) as caught:
        await index(world, documents=documents(a="둘."))
    assert caught.value.reason == "encoder_mismatch"
    part = PartInput(collection="c", part="p", version=1)
    carry = PartPoints(
        embedder="lengths", points="p", discard=[], result=IndexingResult(collection="c"), generation=1, source="s",
        documents=[],
    )  # fmt: skip
    with pytest.raises(DependencyMissing):
        await embed.run(world.job("indexing", "embed", part, carry), world.ports)


async def test_a_model_of_the_same_name_with_another_dimension_is_refused() -> None:
    world = World(embedder=LengthEmbedder())
    await index(world, documents=documents(a="하나."))
    world.embedder = LengthEmbedder(dimension=3)
    result = await index(world, documents=documents(b="둘."))
    assert [error["code"] for error in result["errors"]] == ["dimension_mismatch"]


async def test_many_documents_become_parts() -> None:
    world = World()
    outcome = await plan.run(planning(world, documents=documents(**{f"d{n}": "글." for n in range(600)})), world.ports)
    assert isinstance(outcome, FanOut)
    assert outcome.carry.sizes == [500, 100]
    long = documents(**{f"d{n}": "가" * 150_000 for n in range(5)})
    outcome = await plan.run(planning(world, documents=long), world.ports)
    assert isinstance(outcome, FanOut)
    assert outcome.carry.sizes == [2, 2, 1]


class TestRepeats:
    async def prepared(self, world: World, text: str) -> tuple[StageJob[Any, Any], Next]:
        outcome = await plan.run(planning(world, documents=documents(a=text)), world.ports)
        assert isinstance(outcome, FanOut)
        job = world.job("indexing", "prepare", outcome.children[0].input)
        ready = await prepare.run(job, world.ports)
        assert isinstance(ready, Next)
        return job, ready

    @pytest.mark.parametrize("step", ["index.upsert", "catalogue.record", "index.prune", "blobs.delete"])
    async def test_upsert_may_break_off_at_any_step(self, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World()
        await index(world, documents=documents(a="옛 글."))
        job, ready = await self.prepared(world, "새 글.")
        last = world.again(job, stage="upsert", carry=ready.carry)

        async def breaks(*_: object, **__: object) -> None:
            raise ConnectionError

        port, method = step.split(".")
        with monkeypatch.context() as broken:
            broken.setattr(getattr(world, port), method, breaks)
            with pytest.raises(ConnectionError):
                await upsert.run(last, world.ports)
        first = await upsert.run(world.again(last), world.ports)
        assert isinstance(first, Done)
        assert first.result["documents"]["replaced"] == 1
        assert await seen(world) == {"a": "새 글."}

    async def test_a_try_whose_end_was_not_recorded_is_told_once_more(self) -> None:
        world = World()
        job, ready = await self.prepared(world, "글.")
        last = world.again(job, stage="upsert", carry=ready.carry)
        first = await upsert.run(last, world.ports)
        assert isinstance(first, Done)
        assert first.result["documents"]["added"] == 1
        assert await upsert.run(world.again(last), world.ports) == first
        assert await seen(world) == {"a": "글."}

    async def test_points_lost_before_they_were_written_are_made_again(self) -> None:
        world = World()
        job, ready = await self.prepared(world, "글.")
        await world.blobs.delete(ready.carry.points)
        outcome = await upsert.run(world.again(job, stage="upsert", carry=ready.carry), world.ports)
        assert isinstance(outcome, Next)
        assert outcome.stage == "prepare"
        assert isinstance(await run(world, job, outcome), Done)
        assert await seen(world) == {"a": "글."}

    async def test_preparing_twice_gives_the_same_points(self) -> None:
        world = World()
        job, first = await self.prepared(world, "글. 또 글.")
        second = await prepare.run(world.again(job), world.ports)
        assert isinstance(second, Next)
        assert first.carry.points != second.carry.points, "each try writes under its own epoch"
        assert world.blobs.data[first.carry.points] == world.blobs.data[second.carry.points]
        assert first.carry.source != second.carry.source

    async def test_a_sealed_collection_lets_writers_wait(self) -> None:
        world = World()
        job, ready = await self.prepared(world, "글.")
        world.catalogue.shelves["t", "c"].sealed = True
        last = world.again(job, stage="upsert", carry=ready.carry)
        assert isinstance(await upsert.run(last, world.ports), Snooze)
        assert isinstance(await plan.run(planning(world, delete=["a"]), world.ports), Snooze)
        world.catalogue.shelves["t", "c"].sealed = False
        assert isinstance(await upsert.run(last, world.ports), Done)

    async def test_a_document_of_a_dropped_collection_is_told_so(self) -> None:
        world = World()
        job, ready = await self.prepared(world, "글.")
        await index(world, drop=True)
        await index(world, documents=documents(b="둘."))
        outcome = await upsert.run(world.again(job, stage="upsert", carry=ready.carry), world.ports)
        assert isinstance(outcome, Done)
        assert [(error["id"], error["code"]) for error in outcome.result["errors"]] == [("a", "collection_dropped")]
        again = await prepare.run(world.again(job), world.ports)
        assert isinstance(again, Done)
        assert again.result["documents"]["failed"] == 1
        assert await seen(world) == {"b": "둘."}

    async def test_a_failed_part_counts_all_its_documents_even_when_the_report_is_repeated(self) -> None:
        world = World()
        planned = planning(world, documents=documents(a="하나.", b="둘."))
        outcome = await plan.run(planned, world.ports)
        assert isinstance(outcome, FanOut)
        error = {"code": "timeout", "message": "zu spät"}
        world.children.summaries = [summary(outcome.children[0], 1, S.FAILED, error=error)]
        job = world.again(planned, stage="report", carry=outcome.carry)
        first, second = await report.run(job, world.ports), await report.run(world.again(job), world.ports)
        assert isinstance(first, Done)
        assert isinstance(second, Done)
        assert [(e["id"], e["code"]) for e in first.result["errors"]] == [("a", "timeout"), ("b", "timeout")]
        assert first.result["documents"]["failed"] == second.result["documents"]["failed"] == 2

    async def test_a_part_whose_result_became_a_file_is_added_up(self) -> None:
        world = World()
        planned = planning(world, documents=documents(a="하나.", b="둘."))
        outcome = await plan.run(planned, world.ports)
        assert isinstance(outcome, FanOut)
        refused = [{"id": f"d{n}", "code": "document_empty", "message": "x" * 500} for n in range(200)]
        told = {"collection": "c", "documents": {"failed": 200, "added": 2}, "chunks": 2, "errors": refused}
        file = world.upload(json.dumps(told).encode(), "result.json")
        world.children.summaries = [summary(outcome.children[0], 1, S.SUCCEEDED, result={"file": file})]
        last = world.again(planned, stage="report", carry=outcome.carry)
        ended = await stage("indexing", "report")(last, world.ports)
        assert isinstance(ended, Done)
        assert (ended.result["documents"]["failed"], ended.result["documents"]["added"]) == (200, 2)
        assert len(ended.result["errors"]) == 200


class TestSettings:
    async def test_a_new_collection_begins_with_them_and_an_old_one_keeps_the_rest(self) -> None:
        world = World()
        await index(world, documents=documents(a="하나."), settings={"sparse": {"k1": 1.2}}, chunking={"max_chars": 80})
        settings = (await world.catalogue.collection("t", "c")).settings
        assert (settings.sparse.k1, settings.sparse.b, settings.chunking.max_chars) == (1.2, 0.4, 80)
        await index(world, settings={"fusion": {"rrf_k": 10}})
        changed = (await world.catalogue.collection("t", "c")).settings
        assert changed == settings.changed({"fusion": {"rrf_k": 10}})

    async def test_those_that_shape_no_vectors_need_no_new_index(self) -> None:
        world = World()
        await index(world, documents=documents(a="하나."))
        before = await world.catalogue.collection("t", "c")
        world.sparse.analysed.clear()
        result = await index(world, settings={"sparse": {"correct_spacing": True, "synonyms": [["서울", "한양"]]}})
        after = await world.catalogue.collection("t", "c")
        assert (after.generation, after.settings.sparse.correct_spacing) == (before.generation, True)
        assert (result["rebuilt"], world.sparse.analysed) == (0, [])

    async def test_those_that_do_rebuild_the_collection_without_any_upload(self) -> None:
        world = World()
        text = " ".join(f"문장 {n}은 여기 있다." for n in range(30))
        file = world.upload(text.encode())
        await index(world, documents=[{"id": "a", "file": file, "metadata": {"n": 1}}, *documents(b="둘.")])
        world.blobs.data.pop(f"t/files/{file}")
        before = await world.catalogue.collection("t", "c")
        result = await index(world, settings={"chunking": {"max_chars": 60, "overlap_sentences": 0}})
        after = await world.catalogue.collection("t", "c")
        assert (result["rebuilt"], after.building, after.settings.chunking.max_chars) == (2, None, 60)
        assert list(world.index.points) == [IndexName("t", "c", after.generation)]
        assert after.generation > before.generation
        assert all(len(point.text) <= 60 for point in await points(world))
        assert (await seen(world))["b"] == "둘."
        assert left_over(world) == []

    async def test_chunking_of_an_old_collection_is_not_changed_by_the_way(self) -> None:
        world = World()
        await index(world, documents=documents(a="하나."), chunking={"max_chars": 80})
        await index(world, documents=documents(b="둘."), chunking={"max_chars": 80})
        with pytest.raises(Conflict) as caught:
            await index(world, documents=documents(b="둘."), chunking={"max_chars": 90})
        assert caught.value.reason == "settings_differ"

    async def test_a_rebuild_takes_over_the_encoders_of_the_deployment(self) -> None:
        world = World()
        await index(world, documents=documents(a="하나."))
        world.sparse.name, world.embedder = "newer", LengthEmbedder()
        with pytest.raises(Conflict, match="rebuild the collection first"):
            await index(world, documents=documents(a="둘."))
        await index(world, rebuild=True)
        record = await world.catalogue.collection("t", "c")
        assert (record.encoder, record.embedder, record.dimension) == ("newer", "lengths", 2)
        await index(world, documents=documents(a="둘."))
        assert await seen(world) == {"a": "둘."}

    async def test_one_job_may_add_and_rebuild(self) -> None:
        world = World()
        await index(world, documents=documents(a="하나.", b="둘."))
        result = await index(
            world, documents=documents(b="새 둘.", c="셋."), delete=["a"], settings={"sparse": {"k1": 1.5}}
        )
        assert result["documents"] | {"unchanged": 0, "superseded": 0} == {
            "added": 1, "replaced": 1, "unchanged": 0, "superseded": 0, "deleted": 1, "failed": 0,
        }  # fmt: skip
        assert await seen(world) == {"b": "새 둘.", "c": "셋."}
        assert (await world.catalogue.collection("t", "c")).settings.sparse.k1 == 1.5

    async def test_a_rebuild_of_an_unknown_collection_is_a_mistake(self) -> None:
        with pytest.raises(NotFound):
            await index(World(), rebuild=True)

    async def test_a_document_whose_text_is_lost_stops_the_rebuild_and_nothing_else(self) -> None:
        world = World()
        await index(world, documents=documents(a="하나."))
        (source,) = (key for key in world.blobs.data if "/collections/" in key)
        del world.blobs.data[source]
        with pytest.raises(Conflict, match="'a' is missing") as caught:
            await index(world, rebuild=True)
        assert caught.value.reason == "source_missing"
        assert (await world.catalogue.collection("t", "c")).building is None
        assert len(world.catalogue.generations) == len(world.index.points) == 1
        assert await seen(world) == {"a": "하나."}


async def test_progress_is_reported() -> None:
    world = World()
    await index(world, documents=documents(a="하나."), corpus={"file": world.upload(b"text\nx\n"), "format": "tsv"})
    assert {message for _, _, message in world.reports} >= {"preparing documents", "writing chunks"}
    assert all(done <= total for done, total, _ in world.reports)


class TestCorpus:
    async def texts(self, data: bytes, **corpus: Any) -> tuple[dict[str, str], dict[str, Any]]:
        world = World()
        result = await index(world, corpus={"file": world.upload(data), **corpus})
        return {p.document_id: p.text for p in await points(world)}, result

    async def test_tsv_takes_quotation_marks_as_text(self) -> None:
        data = (
            '\ufeffID\tText\r\n7\t"국제시장"은 영화다.\r\n8\t"열고 닫지 않음\r\n9\t"그는 ""예""라 했다."\r\n'.encode()
        )
        texts, _ = await self.texts(data, format="tsv", text="Text", id="ID", id_prefix="k-")
        assert texts == {"k-7": '"국제시장"은 영화다.', "k-8": '"열고 닫지 않음', "k-9": '그는 "예"라 했다.'}

    async def test_csv_rows_may_hold_line_breaks(self) -> None:
        texts, _ = await self.texts(b'text,n\n"one,\ntwo",1\n\nthree 5" disk,2\n', format="csv")
        assert texts == {"1": "one,\ntwo", "2": 'three 5" disk'}

    @pytest.mark.parametrize("encoding", ["cp949", "utf-16", "utf-8-sig"])
    async def test_korean_spreadsheets_in_other_encodings(self, encoding: str) -> None:
        texts, _ = await self.texts("본문\n한글이다.\n".encode(encoding), format="csv", text="본문")
        assert texts == {"1": "한글이다."}

    async def test_broken_rows_are_named_and_the_others_go_on(self) -> None:
        lines = [
            '{"text": "하나.", "i": "a", "m": 1}',
            "{broken",
            "[1]",
            '{"text": 5}',
            '{"text": "둘.", "i": "a"}',
            '{"text": "\\ud800", "i": "b"}',
            '{"text": "x", "i": "c", "m": {"deep": 1}}',
            '{"text": "x", "i": "d", "m": "\\udc00"}',
            '{"text": "x"}',
            '{"text": "셋.", "i": 10}',
        ]
        texts, result = await self.texts("\n".join(lines).encode(), format="jsonl", id="i", metadata=["m"])
        assert texts == {"a": "하나.", "10": "셋."}
        assert [error["id"] for error in result["errors"]] == [
            "row 2", "row 3", "row 4", "a", "row 6", "row 7", "row 8", "row 9",
        ]  # fmt: skip
        assert result["errors"][3]["code"] == "duplicate_id"
        assert (result["documents"]["added"], result["documents"]["failed"]) == (2, 8)

    async def test_a_row_whose_id_a_client_would_resolve_as_a_path_is_left_out(self) -> None:
        texts, result = await self.texts(b"id\ttext\n..\tx\na/../b\tx\nc\tx\n", format="tsv", id="id")
        assert texts == {"c": "x"}
        assert [error["code"] for error in result["errors"]] == ["row_invalid", "row_invalid"]

    async def test_rows_of_the_wrong_width_are_named(self) -> None:
        texts, result = await self.texts(b"a\ttext\n1\tx\n2\n", format="tsv")
        assert texts == {"1": "x"}
        assert result["errors"][0]["message"] == "row 2 was left out: it has 1 columns and the header 2"

    @pytest.mark.parametrize(("format", "data"), [("tsv", b"A\tB\n1\t2\n"), ("jsonl", b'{"A": 1, "B": 2}\n')])
    async def test_a_missing_column_names_those_there_are(self, format: str, data: bytes) -> None:
        with pytest.raises(InvalidInput, match="no column 'text'; it has 'A', 'B'") as caught:
            await self.texts(data, format=format)
        assert caught.value.reason == "column_missing"

    async def test_a_missing_or_unreadable_corpus_is_refused(self) -> None:
        with pytest.raises(NotFound) as caught:
            await index(World(), corpus={"file": UNKNOWN_FILE, "format": "csv"})
        assert caught.value.reason == "file_not_found"
        with pytest.raises(InvalidInput) as broken:
            await self.texts(bytes(range(128, 256)) * 50, format="tsv")
        assert broken.value.reason == "corpus_undecodable"
        with pytest.raises(InvalidInput) as empty:
            await self.texts(b"", format="tsv")
        assert empty.value.reason == "corpus_unreadable"

    async def test_titles_and_metadata_come_along(self) -> None:
        world = World()
        data = b"t\ttext\tyear\nT\tx\t1999\n\ty\t\n"
        corpus = {"file": world.upload(data), "format": "tsv", "title": "t", "metadata": ["year"]}
        await index(world, corpus=corpus)
        found = sorted(await points(world), key=lambda p: p.document_id)
        assert [(p.title, p.metadata) for p in found] == [("T", {"year": "1999"}), (None, {"year": ""})]
