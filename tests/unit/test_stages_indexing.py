"""Indexing from submission to result: what is added, replaced, left alone, refused and removed."""

import json
from typing import Any

import pytest

from consumers.stages.indexing import embed, plan, prepare, report, upsert
from consumers.stages.ports import ChildSummary
from schemas.errors import Conflict, DependencyMissing, InvalidInput, JobError, NotFound
from schemas.outcomes import Done, FanOut, Next, Outcome
from tests.unit.ports_in_memory import LengthEmbedder, World

STAGES = {"prepare": prepare.run, "embed": embed.run, "upsert": upsert.run}
UNKNOWN_FILE = "file_" + "0" * 32


async def run_part(world: World, stage: str, input: dict[str, Any]) -> Outcome:
    """What the executor does with a child, without failures."""
    outcome: Outcome = Next(stage)
    while isinstance(outcome, Next):
        outcome = await STAGES[outcome.stage](world.job("indexing", outcome.stage, input, outcome.carry), world.ports)
    return outcome


async def index(world: World, **request: Any) -> dict[str, Any]:
    """Run a whole indexing job; its result."""
    job = world.job("indexing", "plan", {"collection": "c", **request})
    outcome = await plan.run(job, world.ports)
    if isinstance(outcome, FanOut):
        world.children.summaries = []
        for child in outcome.children:
            try:
                part = await run_part(world, child.stage, child.input)
                assert isinstance(part, Done)
                summary = ChildSummary(child.input, part.result, None)
            except JobError as error:
                summary = ChildSummary(child.input, None, {"code": error.reason, "message": error.message})
            world.children.summaries.append(summary)
        outcome = await report.run(world.job("indexing", outcome.then, job.input, outcome.carry), world.ports)
    assert isinstance(outcome, Done)
    json.dumps(outcome.result)
    return outcome.result


def documents(**texts: str) -> list[dict[str, Any]]:
    return [{"id": name, "text": text} for name, text in texts.items()]


def left_over(world: World) -> list[str]:
    return [key for key in world.blobs.data if "/jobs/" in key]


async def test_documents_are_added_and_nothing_is_left_lying() -> None:
    world = World()
    result = await index(world, documents=documents(a="하나. 둘.", b="셋."))
    assert result["documents"] == {"added": 2, "replaced": 0, "unchanged": 0, "deleted": 0, "failed": 0}
    assert result["chunks"] == await world.index.count("t", "c") == 2
    assert left_over(world) == []
    assert {p.text for p in world.index.points["t", "c"].values()} == {"하나. 둘.", "셋."}


async def test_the_same_content_is_not_encoded_again() -> None:
    world = World()
    await index(world, documents=documents(a="하나."))
    world.sparse.encoded.clear()
    result = await index(world, documents=documents(a="하나."))
    assert (result["documents"]["unchanged"], result["chunks"]) == (1, 0)
    assert world.sparse.encoded == []
    assert left_over(world) == []


@pytest.mark.parametrize(
    "change",
    [
        {"documents": [{"id": "a", "text": "둘."}]},
        {"documents": [{"id": "a", "text": "하나.", "title": "제목"}]},
        {"documents": [{"id": "a", "text": "하나.", "metadata": {"k": 1}}]},
        {"documents": [{"id": "a", "text": "하나."}], "chunking": {"max_chars": 60}},
    ],
)
async def test_a_change_replaces_every_old_chunk(change: dict[str, Any]) -> None:
    world = World()
    await index(world, documents=documents(a="하나.", b="남는다."))
    result = await index(world, **change)
    assert result["documents"]["replaced"] == 1
    hashes = {p.content_hash for p in world.index.points["t", "c"].values() if p.document_id == "a"}
    assert hashes == {world.catalogue.known["t", "c"]["a"].content_hash}
    assert await world.index.count("t", "c") == 2


async def test_the_title_is_encoded_but_not_stored_in_the_text() -> None:
    world = World()
    await index(world, documents=[{"id": "a", "title": "제목", "text": "본문."}])
    (point,) = world.index.points["t", "c"].values()
    assert (point.title, point.text) == ("제목", "본문.")
    assert world.sparse.encoded == ["제목\n본문."]


async def test_offsets_point_into_the_document() -> None:
    world = World()
    text = " ".join(f"문장 {n}은 여기 있다." for n in range(60))
    result = await index(world, documents=documents(a=text), chunking={"max_chars": 50})
    points = list(world.index.points["t", "c"].values())
    assert result["chunks"] == len(points) > 10
    assert all(text[p.start : p.end] == p.text for p in points)


async def test_refused_documents_do_not_stop_the_others() -> None:
    world = World()
    refused = [
        {"id": "empty", "text": " "},
        {"id": "missing", "file": UNKNOWN_FILE},
        {"id": "huge", "file": world.upload(b"a" * (prepare.MAX_FILE_BYTES + 1))},
        {"id": "long", "file": world.upload(b"b" * 10_000_001)},
        {"id": "number", "text": "x", "metadata": {"n": 2**63}},
    ]
    result = await index(world, documents=[*refused, {"id": "ok", "file": world.upload("셋.".encode())}])
    assert {error["id"]: error["code"] for error in result["errors"]} == {
        "empty": "document_empty",
        "missing": "file_not_found",
        "huge": "document_too_large",
        "long": "document_too_large",
        "number": "metadata_invalid",
    }
    assert (result["documents"]["added"], result["documents"]["failed"]) == (1, 5)


async def test_nothing_but_unknown_files_ends_without_children() -> None:
    result = await index(World(), documents=[{"id": "a", "file": UNKNOWN_FILE}])
    assert (result["documents"]["failed"], result["errors"][0]["code"]) == (1, "file_not_found")


async def test_delete_and_drop() -> None:
    world = World()
    await index(world, documents=documents(a="하나.", b="둘."))
    assert (await index(world, delete=["a", "nobody"]))["documents"]["deleted"] == 1
    assert {p.document_id for p in world.index.points["t", "c"].values()} == {"b"}
    await index(world, drop=True)
    assert ("t", "c") not in world.index.points
    assert world.catalogue.collections == {}
    await index(world, drop=True)
    with pytest.raises(NotFound):
        await index(world, delete=["b"])


async def test_dense_vectors_are_added_where_there_is_an_embedder() -> None:
    world = World(embedder=LengthEmbedder())
    await index(world, documents=[{"id": "a", "title": "제목", "text": "하나."}])
    (point,) = world.index.points["t", "c"].values()
    assert point.dense == pytest.approx(LengthEmbedder().embed_query("제목\n하나."))
    assert left_over(world) == []
    world.embedder = None
    with pytest.raises(Conflict):
        await index(world, documents=documents(a="하나."))
    with pytest.raises(DependencyMissing):
        await embed.run(world.job("indexing", "embed", {}), world.ports)


async def test_many_documents_become_parts() -> None:
    world = World()
    job = world.job(
        "indexing", "plan", {"collection": "c", "documents": documents(**{f"d{n}": "글." for n in range(250)})}
    )
    outcome = await plan.run(job, world.ports)
    assert isinstance(outcome, FanOut)
    assert outcome.carry["sizes"] == [100, 100, 50]
    long = documents(**{f"d{n}": "가" * 150_000 for n in range(5)})
    outcome = await plan.run(world.job("indexing", "plan", {"collection": "c", "documents": long}), world.ports)
    assert isinstance(outcome, FanOut)
    assert outcome.carry["sizes"] == [2, 2, 1]


async def prepared(world: World, text: str) -> tuple[Any, Next]:
    outcome = await plan.run(
        world.job("indexing", "plan", {"collection": "c", "documents": documents(a=text)}), world.ports
    )
    assert isinstance(outcome, FanOut)
    job = world.job("indexing", "prepare", outcome.children[0].input)
    ready = await prepare.run(job, world.ports)
    assert isinstance(ready, Next)
    return job, ready


async def test_upsert_may_be_repeated_after_any_step() -> None:
    world = World()
    await index(world, documents=documents(a="옛 글."))
    job, ready = await prepared(world, "새 글.")
    last = world.again(job, stage="upsert", carry=ready.carry)

    async def breaks(*_: object) -> None:
        raise ConnectionError

    record, world.catalogue.record_documents = world.catalogue.record_documents, breaks  # type: ignore[method-assign, assignment]
    with pytest.raises(ConnectionError):
        await upsert.run(last, world.ports)
    world.catalogue.record_documents = record  # type: ignore[method-assign]
    first = await upsert.run(world.again(last), world.ports)
    repeated = await upsert.run(world.again(last), world.ports)
    assert first == repeated
    assert [p.text for p in world.index.points["t", "c"].values()] == ["새 글."]


async def test_points_lost_before_they_were_written_are_no_success() -> None:
    world = World()
    job, ready = await prepared(world, "글.")
    await world.blobs.delete(ready.carry["points"])
    with pytest.raises(NotFound):
        await upsert.run(world.again(job, carry=ready.carry), world.ports)


async def test_preparing_twice_gives_the_same_points() -> None:
    world = World()
    job, first = await prepared(world, "글. 또 글.")
    second = await prepare.run(world.again(job), world.ports)
    assert isinstance(second, Next)
    assert first.carry["points"] != second.carry["points"], "each try writes under its own epoch"
    assert world.blobs.data[first.carry["points"]] == world.blobs.data[second.carry["points"]]


async def test_a_failed_part_counts_all_its_documents_even_when_the_report_is_repeated() -> None:
    world = World()
    request = {"collection": "c", "documents": documents(a="하나.", b="둘.")}
    outcome = await plan.run(world.job("indexing", "plan", request), world.ports)
    assert isinstance(outcome, FanOut)
    error = {"code": "timeout", "message": "zu spät"}
    world.children.summaries = [ChildSummary(outcome.children[0].input, None, error)]
    job = world.job("indexing", "report", request, outcome.carry)
    first, second = await report.run(job, world.ports), await report.run(world.again(job), world.ports)
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert [(e["id"], e["code"]) for e in first.result["errors"]] == [("a", "timeout"), ("b", "timeout")]
    assert first.result["documents"]["failed"] == second.result["documents"]["failed"] == 2


async def test_progress_is_reported() -> None:
    world = World()
    await index(world, documents=documents(a="하나."), corpus={"file": world.upload(b"text\nx\n"), "format": "tsv"})
    assert {message for _, _, message in world.reports} >= {"preparing documents", "writing chunks"}
    assert all(done <= total for done, total, _ in world.reports)


class TestCorpus:
    async def texts(self, data: bytes, **corpus: Any) -> tuple[dict[str, str], dict[str, Any]]:
        world = World()
        result = await index(world, corpus={"file": world.upload(data), **corpus})
        return {p.document_id: p.text for p in world.index.points["t", "c"].values()}, result

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

    async def test_rows_of_the_wrong_width_are_named(self) -> None:
        texts, result = await self.texts(b"a\ttext\n1\tx\n2\n", format="tsv")
        assert texts == {"1": "x"}
        assert result["errors"][0]["message"] == "row 2 was left out: it has 1 columns and the header 2"

    @pytest.mark.parametrize(("format", "data"), [("tsv", b"A\tB\n1\t2\n"), ("jsonl", b'{"A": 1, "B": 2}\n')])
    async def test_a_missing_column_names_those_there_are(self, format: str, data: bytes) -> None:
        with pytest.raises(InvalidInput, match="no column 'text'; it has 'A', 'B'") as caught:
            await self.texts(data, format=format)
        assert caught.value.reason == "column_missing"

    async def test_a_corpus_that_is_not_there_or_not_readable(self) -> None:
        with pytest.raises(NotFound) as caught:
            await index(World(), corpus={"file": UNKNOWN_FILE, "format": "csv"})
        assert caught.value.reason == "file_not_found"
        with pytest.raises(InvalidInput) as broken:
            await self.texts(b"text\n" + "가\n".encode() * 100_000 + b"\xff\xff\n", format="tsv")
        assert broken.value.reason == "corpus_undecodable"
        with pytest.raises(InvalidInput) as empty:
            await self.texts(b"", format="tsv")
        assert empty.value.reason == "corpus_unreadable"

    async def test_titles_and_metadata_come_along(self) -> None:
        world = World()
        data = b"t\ttext\tyear\nT\tx\t1999\n\ty\t\n"
        corpus = {"file": world.upload(data), "format": "tsv", "title": "t", "metadata": ["year"]}
        await index(world, corpus=corpus)
        points = sorted(world.index.points["t", "c"].values(), key=lambda p: p.document_id)
        assert [(p.title, p.metadata) for p in points] == [("T", {"year": "1999"}), (None, {"year": ""})]
