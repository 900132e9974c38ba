"""What every `VectorIndex` must do."""

import asyncio
import math
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from consumers.stages.ports import VectorIndex
from infra.vectors.metadata import facet
from infra.vectors.points import index_name
from infra.vectors.server import QdrantIndex
from schemas.errors import Conflict, DependencyUnavailable, InvalidInput, NotFound
from schemas.filters import parse_filter
from schemas.retrieval import DocumentVersion, IndexName, Passage, Point, Query, SparseVector
from tests.contract.vectors import FUSION, NOTHING, change, chunk, documents, index_of, query, terms

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")


@pytest.fixture
def ko() -> IndexName:
    return index_of(f"tenant-{uuid4().hex[:8]}")


async def find(index: VectorIndex, name: IndexName, *ids: int, top_k: int = 10) -> list[Passage]:
    return await index.search(name, query(*ids), top_k=top_k, fusion=FUSION)


class TestFinding:
    async def test_a_chunk_comes_back_as_it_went_in(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        metadata = {"언어": "한국어", "n": 3, "f": 0.1, "whole": 2.0, "b": True, "none": None, "list": ["a", 1], "": ""}
        point = Point(
            str(uuid4()), "d1", "h", "제목 🙂", "본문\n\t\"'\\ 🧑‍🚀", 7, 19, terms(1, 2), None, metadata,
            version=2**53, heading="제1장 총칙 > 제2조", page=3,
        )  # fmt: skip
        await index.upsert(ko, [point])
        [found] = await find(index, ko, 1)
        assert (found.document_id, found.chunk_id, found.title, found.text) == ("d1", point.id, "제목 🙂", point.text)
        assert (found.start, found.end, found.metadata) == (7, 19, metadata)
        assert (found.heading, found.page, found.content_hash) == ("제1장 총칙 > 제2조", 3, "h")
        assert found.score == found.scores["sparse"] > 0
        assert set(found.scores) == {"sparse"}

    async def test_a_chunk_may_have_no_title_and_no_metadata(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        await index.upsert(ko, [replace(chunk("d", terms(1)), title=None)])
        [found] = await find(index, ko, 1)
        assert (found.title, found.metadata, found.heading, found.page) == (None, {}, None, None)

    async def test_scores_are_bm25(self, index: VectorIndex, ko: IndexName) -> None:
        """IDF as in BM25 (Robertson & Zaragoza 2009, with Lucene's + 1), times the saturated weight that was given."""
        await index.ensure(ko, dimension=None)
        vectors = {"a": SparseVector([1, 2], [1.5, 0.5]), "b": SparseVector([1], [0.25]), "c": SparseVector([3], [1])}
        await index.upsert(ko, [chunk(document, vector) for document, vector in vectors.items()])

        def idf(holders: int) -> float:
            return math.log(1 + (3 - holders + 0.5) / (holders + 0.5))

        found = await find(index, ko, 1, 2, 99)
        assert documents(found) == ["a", "b"]
        assert found[0].score == pytest.approx(1.5 * idf(2) + 0.5 * idf(1), rel=1e-4)
        assert found[1].score == pytest.approx(0.25 * idf(2), rel=1e-4)

    async def test_top_k_bounds_the_answer_and_the_best_come_first(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        await index.upsert(ko, [chunk(f"d{n:02}", terms(1, weight=1 + n)) for n in range(80)])
        assert documents(await find(index, ko, 1, top_k=3)) == ["d79", "d78", "d77"]
        assert len(await find(index, ko, 1, top_k=75)) == 75
        assert len(await find(index, ko, 1, top_k=10_000)) == 80

    async def test_equal_chunks_come_in_the_order_of_their_documents(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        for document in ("c", "a", "b"):
            await index.upsert(ko, [chunk(document, terms(1), position=n) for n in (1, 0)])
        found = await find(index, ko, 1)
        assert [(one.document_id, one.start) for one in found] == [(d, n) for d in "abc" for n in (0, 1)]

    async def test_a_query_that_shares_no_term_finds_nothing(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        assert await find(index, ko, 1) == []
        await index.upsert(ko, [chunk("d", terms(1))])
        assert await find(index, ko, 2) == []
        assert await find(index, ko) == []

    async def test_the_largest_term_id_is_found(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        await index.upsert(ko, [chunk("d", SparseVector([0, 2**32 - 1], [1.0, 1.0]))])
        assert documents(await find(index, ko, 2**32 - 1)) == documents(await find(index, ko, 0)) == ["d"]


class TestWriting:
    async def test_a_known_id_is_replaced(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        point = chunk("d", terms(1), colour="red")
        await index.upsert(ko, [point])
        await index.upsert(ko, [replace(point, sparse=terms(2), metadata={"size": 1})])
        assert await index.count(ko) == 1
        assert await find(index, ko, 1) == []
        red, sized = parse_filter({"colour": "red"}), parse_filter({"size": {"gte": 1}})
        assert await index.search(ko, query(2), top_k=5, fusion=FUSION, filter=red) == []
        [found] = await index.search(ko, query(2), top_k=5, fusion=FUSION, filter=sized)
        assert found.metadata == {"size": 1}

    async def test_pruning_removes_older_points_of_another_content_only(
        self, index: VectorIndex, ko: IndexName
    ) -> None:
        await index.ensure(ko, dimension=None)
        old = [chunk("d", terms(1), content="old", version=1, position=n) for n in range(5)]
        kept = [chunk("d", terms(1), content="new", version=1, position=0)]  # the same content, written before
        new = [chunk("d", terms(1), content="new", version=2, position=1)]
        newer = [chunk("d", terms(1), content="newer", version=3)]  # from a job that was planned later
        other = [chunk("other", terms(1), content="old", version=1)]
        await index.upsert(ko, [*old, *kept, *new, *newer, *other])
        for _ in range(2):
            await index.prune(ko, [DocumentVersion("d", 2, "new")], change())
            left = {passage.chunk_id for passage in await find(index, ko, 1)}
            assert left == {point.id for point in (*kept, *new, *newer, *other)}

    async def test_pruning_a_deleted_document_removes_all_below_its_version(
        self, index: VectorIndex, ko: IndexName
    ) -> None:
        await index.ensure(ko, dimension=None)
        points = [chunk("d", terms(1), version=version, position=version) for version in (1, 2, 3)]
        await index.upsert(ko, [*points, chunk("e", terms(1))])
        for _ in range(2):
            await index.prune(ko, [DocumentVersion("d", 3, None), DocumentVersion("never there", 9, None)], change())
            assert [(one.document_id, one.start) for one in await find(index, ko, 1)] == [("d", 3), ("e", 0)]

    async def test_many_documents_are_pruned_at_once(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        await index.upsert(ko, [chunk(f"d{n}", terms(1), content=c) for n in range(250) for c in ("old", "new")])
        await index.prune(ko, [], change())
        await index.prune(ko, [DocumentVersion(f"d{n}", 2, "new") for n in range(240)], change())
        assert await index.count(ko) == 240 + 20

    async def test_documents_of_several_versions_are_pruned_at_once(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        points = [chunk(id, terms(1), content="old", version=v, position=v) for id in "abcd" for v in (1, 2, 3)]
        await index.upsert(ko, points)
        versions = [("a", 3, None), ("b", 2, None), ("c", 3, None), ("d", 3, "old")]
        await index.prune(ko, [DocumentVersion(*one) for one in versions], change())
        left = sorted((one.document_id, one.start) for one in await find(index, ko, 1))
        assert left == [("a", 3), ("b", 2), ("b", 3), ("c", 3), ("d", 1), ("d", 2), ("d", 3)]

    @pytest.mark.parametrize("id", ["한글 문서/1", "🙂🧑‍🚀", 'a"b\\c', "a.b[0]", " ", "x" * 200, "*"])
    async def test_document_ids_may_hold_any_writing(self, index: VectorIndex, ko: IndexName, id: str) -> None:
        await index.ensure(ko, dimension=None)
        await index.upsert(ko, [chunk(id, terms(1)), chunk("other", terms(1))])
        assert sorted(documents(await find(index, ko, 1))) == sorted([id, "other"])
        await index.prune(ko, [DocumentVersion(id, 2, None)], change())
        assert documents(await find(index, ko, 1)) == ["other"]

    async def test_no_points_and_many_points(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=None)
        await index.upsert(ko, [])
        await index.upsert(ko, [chunk(f"d{n}", terms(1, 2 + n)) for n in range(1_203)])
        assert await index.count(ko) == 1_203
        assert documents(await find(index, ko, 1_204)) == ["d1202"]

    async def test_searches_go_on_while_documents_are_written_and_replaced(
        self, index: VectorIndex, ko: IndexName
    ) -> None:
        await index.ensure(ko, dimension=None)
        await index.upsert(ko, [chunk("fixed", terms(1, 7))])

        async def write() -> None:
            for version in range(10):
                batch = [chunk(f"d{n}", terms(1, 2), content=f"v{version}", version=version) for n in range(50)]
                await index.upsert(ko, batch)
                await index.prune(
                    ko, [DocumentVersion(f"d{n}", version, f"v{version}") for n in range(0, 50, 10)], change()
                )

        async def read() -> None:
            for _ in range(20):
                assert documents(await find(index, ko, 7)) == ["fixed"]

        await asyncio.gather(write(), *(read() for _ in range(20)))
        assert await index.count(ko) == 1 + 45 * 10 + 5


class TestTenantsAndIndexes:
    async def test_tenants_collections_and_generations_see_only_their_own(
        self, index: VectorIndex, ko: IndexName
    ) -> None:
        other = f"{ko.tenant}/한글 ../🙂"
        places = [ko, replace(ko, collection="ko-2"), replace(ko, generation=2), replace(ko, tenant=other)]
        for place in places:
            await index.ensure(place, dimension=None)
            await index.upsert(place, [chunk(str(place), terms(1))])
        for place in places:
            assert documents(await find(index, place, 1)) == [str(place)]
        await index.prune(places[-1], [DocumentVersion(str(ko), 9, None)], change())
        await index.drop(places[-1])
        assert [await index.count(place) for place in places] == [1, 1, 1, 0]

    async def test_points_of_another_tenant_in_the_same_index_are_neither_found_nor_removed(
        self, index: VectorIndex, ko: IndexName, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As if the names of two indexes were the same."""
        mine, theirs = ko, replace(ko, tenant="another tenant")
        monkeypatch.setattr("infra.vectors.points.index_name", lambda _: f"shared-{ko.tenant}")
        await index.ensure(mine, dimension=2, learned=True)
        own = chunk("d", terms(1), content="mine", dense=[1.0, 0.0], learned=terms(9), year=2020)
        smuggled = chunk("d", terms(1), content="theirs", dense=[1.0, 0.0], learned=terms(9), year=2020)
        await index.upsert(mine, [own])
        await index.upsert(theirs, [smuggled])
        assert await index.count(mine) == 2
        filters: list[dict[str, Any] | None] = [
            None, {"year": 2020}, {"year": {"gte": 2020}}, {"tenant": {"ne": mine.tenant}},
            {"or": [{"year": 2020}, {"year": {"ne": 2020}}]},
        ]  # fmt: skip
        for asked in (query(1), query(1, dense=[1.0, 0.0]), Query(NOTHING, [1.0, 0.0], terms(9))):
            for filter in filters:
                condition = parse_filter(filter)
                for owner, point in ((mine, own), (theirs, smuggled)):
                    found = await index.search(owner, asked, top_k=9, fusion=FUSION, filter=condition)
                    assert [one.chunk_id for one in found] == [point.id]
        await index.prune(theirs, [DocumentVersion("d", 9, None)], change())
        assert [one.chunk_id for one in await find(index, mine, 1)] == [own.id]
        assert await find(index, theirs, 1) == []

    async def test_an_absent_index(self, index: VectorIndex, ko: IndexName) -> None:
        for asked in (query(1), Query(NOTHING), query(1, dense=[1.0, 0.0])):
            with pytest.raises(NotFound):
                await index.search(ko, asked, top_k=5, fusion=FUSION)
        with pytest.raises(NotFound):
            await index.upsert(ko, [chunk("d", terms(1))])
        assert await index.count(ko) == 0
        await index.prune(ko, [DocumentVersion("d", 1, None)], change())
        await index.drop(ko)

    async def test_a_dropped_index_can_be_made_anew(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=2)
        await index.upsert(ko, [chunk("d", terms(1), year=2020)])
        await index.drop(ko)
        await index.drop(ko)
        with pytest.raises(NotFound):
            await find(index, ko, 1)
        await index.ensure(ko, dimension=None)
        assert await index.count(ko) == 0
        await index.upsert(ko, [chunk("d", terms(1), year=2020)])
        assert documents(await find(index, ko, 1)) == ["d"]

    async def test_ensure_keeps_what_is_there_and_refuses_other_arms(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=2)
        await index.upsert(ko, [chunk("d", terms(1))])
        await asyncio.gather(*(index.ensure(ko, dimension=2) for _ in range(5)))
        assert await index.count(ko) == 1
        for dimension, learned in ((None, False), (3, False), (2, True)):
            with pytest.raises(Conflict):
                await index.ensure(ko, dimension=dimension, learned=learned)

    async def test_many_may_make_an_index_at_once(self, index: VectorIndex, ko: IndexName) -> None:
        await asyncio.gather(*(index.ensure(ko, dimension=None) for _ in range(10)))
        assert await index.count(ko) == 0

    async def test_check_passes_where_the_index_works(self, index: VectorIndex) -> None:
        await index.check()


class TestBadInput:
    @pytest.mark.parametrize(
        "sparse",
        [
            SparseVector([2, 1], [1, 1]), SparseVector([1, 1], [1, 1]), SparseVector([1], [1, 1]),
            SparseVector([1], [0]), SparseVector([1], [-1]), SparseVector([1], [math.nan]),
            SparseVector([1], [math.inf]), SparseVector([-1], [1]), SparseVector([2**32], [1]),
        ],
    )  # fmt: skip
    async def test_a_bad_sparse_vector_is_refused(
        self, index: VectorIndex, ko: IndexName, sparse: SparseVector
    ) -> None:
        await index.ensure(ko, dimension=2, learned=True)
        for bad in (chunk("bad", sparse), chunk("bad", terms(1), learned=sparse)):
            with pytest.raises(InvalidInput):
                await index.upsert(ko, [chunk("good", terms(1)), bad])
        for asked in (Query(sparse), Query(terms(1), None, sparse)):
            with pytest.raises(InvalidInput):
                await index.search(ko, asked, top_k=5, fusion=FUSION)
        assert await index.count(ko) == 0

    async def test_other_bad_input_is_refused(self, index: VectorIndex, ko: IndexName) -> None:
        await index.ensure(ko, dimension=2)
        good = chunk("d", terms(1), dense=[1.0, 0.0])
        bad = [replace(good, id="no uuid"), replace(good, dense=[1.0]), replace(good, dense=[math.nan, 1.0])]
        for point in [*bad, replace(good, metadata={"n": math.nan}), replace(good, learned=terms(1))]:
            with pytest.raises(InvalidInput):
                await index.upsert(ko, [point])
        await index.upsert(ko, [good])
        for dense in ([1.0], [math.nan, 0.0]):
            with pytest.raises(InvalidInput):
                await index.search(ko, query(1, dense=dense), top_k=5, fusion=FUSION)
        with pytest.raises(InvalidInput):
            await find(index, ko, 1, top_k=0)
        plain = replace(ko, collection="plain")
        await index.ensure(plain, dimension=None)
        with pytest.raises(InvalidInput):
            await index.search(plain, query(1, dense=[1.0, 0.0]), top_k=5, fusion=FUSION)
        with pytest.raises(InvalidInput):
            await index.upsert(plain, [good])


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"lang": "ko"}, "ab"),
        ({"lang": ["ko", "en"]}, "abc"),
        ({"lang": "ko", "year": 2021}, "b"),
        ({"lang": {"ne": "ko"}}, "c"),
        ({"year": [2020, 2021.0]}, "ab"),
        ({"year": "2020"}, ""),
        ({"year": {"gt": 2020, "lt": 2022}}, "b"),
        ({"year": {"gte": 2020.5}}, "bc"),
        ({"year": {"nin": [2020, 2022]}}, "b"),
        ({"open": True}, "ac"),
        ({"open": 1}, ""),
        ({"open": {"gte": 0}}, ""),
        ({"score": 0.5}, "a"),
        ({"score": [0.5, 7, "x"]}, "ab"),
        ({"score": {"ne": 7}}, "ac"),
        ({"이름 있는 \"칸\".a[0]": "가 나"}, "c"),
        ({"이름 있는 \"칸\".b[0]": {"lt": -1}}, "c"),
        ({"tags": "red"}, "ac"),
        ({"tags": ["blue", "green"]}, "ab"),
        ({"tags": {"ne": "red"}}, "b"),
        ({"long": "가" * 5000}, "a"),
        ({"long": "가" * 5001}, ""),
        ({"price": {"gte": 100}}, "b"),
        ({"day": {"gte": "2024-02-01"}}, "bc"),
        ({"day": {"gte": "2024-02-29T21:00:00+09:00", "lt": "2025-01-01"}}, "b"),
        ({"day": {"gt": 0}}, ""),
        ({"unknown": "x"}, ""),
        ({"unknown": {"ne": "x"}}, "abc"),
        ({"unknown": {"gt": 0}}, ""),
        ({"lang": []}, ""),
        ({"lang": {"nin": []}}, "abc"),
        ({"or": [{"year": {"lt": 2021}}, {"lang": "en"}]}, "ac"),
        ({"or": [{"and": [{"lang": "ko"}, {"open": True}]}, {"tags": "green"}], "year": {"lte": 2021}}, "ab"),
        ({"and": [{"or": [{"year": 2020}, {"year": 2022}]}, {"lang": {"ne": "en"}}]}, "a"),
        ({}, "abc"),
    ],
)  # fmt: skip
async def test_filters(index: VectorIndex, ko: IndexName, filter: dict[str, Any], expected: str) -> None:
    await index.ensure(ko, dimension=2)
    held: dict[str, dict[str, Any]] = {
        "a": {
            "lang": "ko", "year": 2020, "open": True, "score": 0.5, "long": "가" * 5000, "tags": ["red", "blue"],
            "price": "99.5", "day": "2024-01-31",
        },
        "b": {
            "lang": "ko", "year": 2021, "open": False, "score": 7, "tags": ["green"], "price": "100",
            "day": "2024-02-29T12:00:00Z",
        },
        "c": {
            "lang": "en", "year": 2022, "open": True, "이름 있는 \"칸\".a[0]": "가 나",
            "이름 있는 \"칸\".b[0]": -1.5, "tags": ["red"], "price": "free", "day": "2025-01-01",
        },
    }  # fmt: skip
    await index.upsert(ko, [chunk(d, terms(1), dense=[1.0, 0.0], **metadata) for d, metadata in held.items()])
    for asked in (query(1), query(1, dense=[1.0, 0.0])):
        found = await index.search(ko, asked, top_k=9, fusion=FUSION, filter=parse_filter(filter))
        assert "".join(sorted(documents(found))) == expected


async def test_a_dead_qdrant_server_is_reported() -> None:
    index, ko = QdrantIndex("http://127.0.0.1:1", timeout_s=2), index_of("t")
    for attempt in (
        index.check(),
        index.ensure(ko, dimension=None),
        index.count(ko),
        index.search(ko, query(1), top_k=5, fusion=FUSION),
        index.upsert(ko, [chunk("d", terms(1))]),
        index.prune(ko, [DocumentVersion("d", 1, None)], change()),
        index.drop(ko),
    ):
        with pytest.raises(DependencyUnavailable):
            await attempt
    await index.close()


def test_names_never_collide() -> None:
    pairs = (
        ("a", "b-c"),
        ("a-b", "c"),
        ("a", "B-C"),
        ('a", "b', "c"),
        ("", "ab"),
        ("../한", "c"),
        ("x" * 99, "y" * 99),
    )
    names = {index_name(IndexName(*pair, generation)) for pair in pairs for generation in (1, 2)}
    assert len(names) == 2 * len(pairs)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") and len(name) < 200 for name in names)


def test_equal_values_have_equal_facets_and_others_differ() -> None:
    assert facet("f", 1) == facet("f", 1.0)
    assert facet("f", "x" * 9999) == facet("f", "x" * 9999)
    assert len({facet("f", v) for v in (1, "1", True, "true", None, "null", 1.5, "x" * 9999, "x" * 9998)}) == 9
    assert facet('a", "b', "c") != facet("a", 'b", "c')
