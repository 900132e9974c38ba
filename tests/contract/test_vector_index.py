"""What every `VectorIndex` must do, and what only the embedded one can do wrong."""

import asyncio
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.stages.ports import VectorIndex
from infra.vectors.edge import EdgeIndex
from infra.vectors.fusion import fuse
from infra.vectors.points import facet, index_name
from infra.vectors.server import QdrantIndex
from schemas.errors import Conflict, DependencyUnavailable, InvalidInput, NotFound
from schemas.retrieval import Passage, Point, SparseVector

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

NOTHING = SparseVector([], [])


def terms(*ids: int, weight: float = 1.0) -> SparseVector:
    return SparseVector(sorted(ids), [weight] * len(ids))


def chunk(
    document: str,
    sparse: SparseVector,
    *,
    dense: list[float] | None = None,
    content: str = "v1",
    position: int = 0,
    **metadata: Any,
) -> Point:
    text = f"{document} {content} {position}"
    key = str(uuid5(NAMESPACE_URL, text))
    return Point(key, document, content, f"title of {document}", text, position, position + 9, sparse, dense, metadata)


def documents(passages: Iterable[Passage]) -> list[str]:
    return [passage.document_id for passage in passages]


@pytest.fixture
def tenant() -> str:
    return f"tenant-{uuid4().hex[:8]}"


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
class TestEveryIndex:
    async def find(self, index: VectorIndex, tenant: str, *ids: int, top_k: int = 10, **filter: Any) -> list[Passage]:
        return await index.search(tenant, "ko", sparse=terms(*ids), dense=None, top_k=top_k, filter=filter or None)

    async def test_a_chunk_comes_back_as_it_went_in(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        metadata = {"언어": "한국어", "n": 3, "f": 0.1, "whole": 2.0, "b": True, "none": None, "list": ["a", 1], "": ""}
        point = Point(str(uuid4()), "d1", "h", "제목 🙂", "본문\n\t\"'\\ 🧑‍🚀", 7, 19, terms(1, 2), None, metadata)
        await index.upsert(tenant, "ko", [point])
        [found] = await self.find(index, tenant, 1)
        assert (found.document_id, found.chunk_id, found.title, found.text) == ("d1", point.id, "제목 🙂", point.text)
        assert (found.start, found.end, found.metadata) == (7, 19, metadata)
        assert found.score == found.scores["sparse"] > 0
        assert set(found.scores) == {"sparse"}

    async def test_a_chunk_may_have_no_title_and_no_metadata(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        await index.upsert(tenant, "ko", [replace(chunk("d", terms(1)), title=None)])
        [found] = await self.find(index, tenant, 1)
        assert found.title is None
        assert found.metadata == {}

    async def test_scores_are_bm25(self, index: VectorIndex, tenant: str) -> None:
        """IDF as in BM25 (Robertson & Zaragoza 2009, with Lucene's + 1), times the saturated weight that was given."""
        await index.ensure(tenant, "ko", dimension=None)
        await index.upsert(
            tenant,
            "ko",
            [
                chunk("a", SparseVector([1, 2], [1.5, 0.5])),
                chunk("b", SparseVector([1], [0.25])),
                chunk("c", SparseVector([3], [1.0])),
            ],
        )

        def idf(holders: int) -> float:
            return math.log(1 + (3 - holders + 0.5) / (holders + 0.5))

        found = await self.find(index, tenant, 1, 2, 99)
        assert documents(found) == ["a", "b"]
        assert found[0].score == pytest.approx(1.5 * idf(2) + 0.5 * idf(1), rel=1e-4)
        assert found[1].score == pytest.approx(0.25 * idf(2), rel=1e-4)

    async def test_top_k_bounds_the_answer_and_the_best_come_first(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        await index.upsert(tenant, "ko", [chunk(f"d{n:02}", terms(1, weight=1 + n)) for n in range(30)])
        assert documents(await self.find(index, tenant, 1, top_k=3)) == ["d29", "d28", "d27"]
        assert len(await self.find(index, tenant, 1, top_k=100)) == 30

    async def test_a_query_that_shares_no_term_finds_nothing(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        assert await self.find(index, tenant, 1) == []
        await index.upsert(tenant, "ko", [chunk("d", terms(1))])
        assert await self.find(index, tenant, 2) == []
        assert await index.search(tenant, "ko", sparse=NOTHING, dense=None, top_k=5) == []

    async def test_the_largest_term_id_is_found(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        await index.upsert(tenant, "ko", [chunk("d", SparseVector([0, 2**32 - 1], [1.0, 1.0]))])
        assert documents(await self.find(index, tenant, 2**32 - 1)) == ["d"]
        assert documents(await self.find(index, tenant, 0)) == ["d"]

    async def test_dense_and_sparse_arms_are_fused(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=2)
        await index.upsert(
            tenant,
            "ko",
            [
                chunk("both", terms(1, weight=2), dense=[1.0, 0.0]),
                chunk("words", terms(1, weight=1), dense=[-1.0, 0.0]),
                chunk("sense", terms(2), dense=[0.6, 0.8]),
            ],
        )
        found = await index.search(tenant, "ko", sparse=terms(1), dense=[1.0, 0.0], top_k=3)
        assert documents(found) == ["both", "sense", "words"]
        assert [passage.score for passage in found] == pytest.approx([1.0, 0.4, 0.0], abs=1e-5)
        assert found[0].scores["dense"] == pytest.approx(1, abs=1e-5)
        assert found[1].scores == {"dense": pytest.approx(0.6, abs=1e-5)}
        assert found[2].scores["dense"] == pytest.approx(-1, abs=1e-5)
        assert found[2].scores["sparse"] > 0

    async def test_dense_alone_answers_a_query_without_terms(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=2)
        await index.upsert(tenant, "ko", [chunk(d, terms(1), dense=v) for d, v in (("a", [0.0, 1.0]), ("b", [1.0, 0]))])
        found = await index.search(tenant, "ko", sparse=NOTHING, dense=[1.0, 0.1], top_k=1)
        assert documents(found) == ["b"]
        assert found[0].score >= 0

    async def test_sparse_alone_answers_in_a_collection_with_dense_vectors(
        self, index: VectorIndex, tenant: str
    ) -> None:
        await index.ensure(tenant, "ko", dimension=2)
        await index.upsert(tenant, "ko", [chunk("a", terms(1)), chunk("b", terms(2), dense=[1.0, 0.0])])
        assert documents(await self.find(index, tenant, 1)) == ["a"]

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ({"lang": "ko"}, "ab"),
            ({"lang": ["ko", "en"]}, "abc"),
            ({"lang": "ko", "year": 2021}, "b"),
            ({"year": [2020, 2021.0]}, "ab"),
            ({"year": "2020"}, ""),
            ({"open": True}, "ac"),
            ({"open": 1}, ""),
            ({"score": 0.5}, "a"),
            ({"score": [0.5, 7, "x"]}, "ab"),
            ({"이름 있는 \"칸\".a[0]": "가 나"}, "c"),
            ({"tags": "red"}, "ac"),
            ({"tags": ["blue", "green"]}, "ab"),
            ({"long": "가" * 5000}, "a"),
            ({"long": "가" * 5001}, ""),
            ({"unknown": "x"}, ""),
            ({"lang": []}, ""),
            ({}, "abc"),
        ],
    )  # fmt: skip
    async def test_filters(self, index: VectorIndex, tenant: str, filter: dict[str, Any], expected: str) -> None:
        await index.ensure(tenant, "ko", dimension=2)
        tags = {"a": ["red", "blue"], "b": ["green"], "c": ["red"]}
        more: dict[str, dict[str, Any]] = {
            "a": {"lang": "ko", "year": 2020, "open": True, "score": 0.5, "long": "가" * 5000},
            "b": {"lang": "ko", "year": 2021, "open": False, "score": 7},
            "c": {"lang": "en", "year": 2022, "open": True, "이름 있는 \"칸\".a[0]": "가 나"},
        }  # fmt: skip
        points = [chunk(d, terms(1), dense=[1.0, 0.0], tags=tags[d], **more[d]) for d in "abc"]
        await index.upsert(tenant, "ko", points)
        for dense in (None, [1.0, 0.0]):
            found = await index.search(tenant, "ko", sparse=terms(1), dense=dense, top_k=9, filter=filter)
            assert "".join(sorted(documents(found))) == expected

    @pytest.mark.parametrize("filter", [{"a": {"b": 1}}, {"a": [[1]]}, {"a": [{"b": 1}]}])
    async def test_a_filter_that_is_none_is_refused(
        self, index: VectorIndex, tenant: str, filter: dict[str, Any]
    ) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        with pytest.raises(InvalidInput):
            await self.find(index, tenant, 1, **filter)

    async def test_a_known_id_is_replaced(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        point = chunk("d", terms(1), colour="red")
        await index.upsert(tenant, "ko", [point])
        await index.upsert(tenant, "ko", [replace(point, sparse=terms(2), metadata={"size": 1})])
        assert await index.count(tenant, "ko") == 1
        assert await self.find(index, tenant, 1) == []
        assert await self.find(index, tenant, 2, colour="red") == []
        [found] = await self.find(index, tenant, 2, size=1)
        assert found.metadata == {"size": 1}

    async def test_a_replaced_document_loses_its_old_chunks_only(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        old = [chunk("d", terms(1), content="old", position=n) for n in range(5)]
        new = [chunk("d", terms(1), content="new", position=n) for n in range(2)]
        await index.upsert(tenant, "ko", [*old, *new, chunk("other", terms(1), content="old")])
        await index.delete_document(tenant, "ko", "d", keep="new")
        assert {passage.chunk_id for passage in await self.find(index, tenant, 1)} == {
            *(point.id for point in new),
            chunk("other", terms(1), content="old").id,
        }
        await index.delete_document(tenant, "ko", "d", keep="new")
        assert await index.count(tenant, "ko") == 3

    async def test_a_deleted_document_is_gone_and_deleting_again_is_no_error(
        self, index: VectorIndex, tenant: str
    ) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        await index.upsert(tenant, "ko", [chunk("d", terms(1), position=n) for n in range(3)] + [chunk("e", terms(1))])
        for _ in range(2):
            await index.delete_document(tenant, "ko", "d")
            assert documents(await self.find(index, tenant, 1)) == ["e"]
        await index.delete_document(tenant, "ko", "never there")

    @pytest.mark.parametrize("id", ["한글 문서/1", "🙂🧑‍🚀", 'a"b\\c', "a.b[0]", " ", "x" * 200, "*"])
    async def test_document_ids_may_hold_any_writing(self, index: VectorIndex, tenant: str, id: str) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        await index.upsert(tenant, "ko", [chunk(id, terms(1)), chunk("other", terms(1))])
        assert sorted(documents(await self.find(index, tenant, 1))) == sorted([id, "other"])
        await index.delete_document(tenant, "ko", id)
        assert documents(await self.find(index, tenant, 1)) == ["other"]

    async def test_tenants_and_collections_see_only_their_own(self, index: VectorIndex, tenant: str) -> None:
        other = f"{tenant}/한글 ../🙂"
        places = [(tenant, "ko"), (tenant, "ko-2"), (other, "ko")]
        for place in places:
            await index.ensure(*place, dimension=None)
            await index.upsert(*place, [chunk(f"{place[0]} {place[1]}", terms(1))])
        for place in places:
            found = await index.search(*place, sparse=terms(1), dense=None, top_k=9)
            assert documents(found) == [f"{place[0]} {place[1]}"]
        await index.delete_document(other, "ko", f"{tenant} ko")
        await index.drop(other, "ko")
        assert [await index.count(*place) for place in places] == [1, 1, 0]

    async def test_an_absent_collection(self, index: VectorIndex, tenant: str) -> None:
        for dense, sparse in ((None, terms(1)), (None, NOTHING), ([1.0, 0.0], terms(1))):
            with pytest.raises(NotFound):
                await index.search(tenant, "ko", sparse=sparse, dense=dense, top_k=5)
        with pytest.raises(NotFound):
            await index.upsert(tenant, "ko", [chunk("d", terms(1))])
        assert await index.count(tenant, "ko") == 0
        await index.delete_document(tenant, "ko", "d")
        await index.drop(tenant, "ko")

    async def test_a_dropped_collection_can_be_made_anew(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=2)
        await index.upsert(tenant, "ko", [chunk("d", terms(1))])
        await index.drop(tenant, "ko")
        await index.drop(tenant, "ko")
        with pytest.raises(NotFound):
            await self.find(index, tenant, 1)
        await index.ensure(tenant, "ko", dimension=None)
        assert await index.count(tenant, "ko") == 0

    async def test_ensure_keeps_what_is_there_and_refuses_another_dimension(
        self, index: VectorIndex, tenant: str
    ) -> None:
        await index.ensure(tenant, "ko", dimension=2)
        await index.upsert(tenant, "ko", [chunk("d", terms(1))])
        await asyncio.gather(*(index.ensure(tenant, "ko", dimension=2) for _ in range(5)))
        assert await index.count(tenant, "ko") == 1
        for dimension in (None, 3):
            with pytest.raises(Conflict):
                await index.ensure(tenant, "ko", dimension=dimension)

    async def test_many_may_make_a_collection_at_once(self, index: VectorIndex, tenant: str) -> None:
        await asyncio.gather(*(index.ensure(tenant, "ko", dimension=None) for _ in range(10)))
        assert await index.count(tenant, "ko") == 0

    @pytest.mark.parametrize(
        "sparse",
        [
            SparseVector([2, 1], [1, 1]), SparseVector([1, 1], [1, 1]), SparseVector([1], [1, 1]),
            SparseVector([1], [0]), SparseVector([1], [-1]), SparseVector([1], [math.nan]),
            SparseVector([1], [math.inf]), SparseVector([-1], [1]), SparseVector([2**32], [1]),
        ],
    )  # fmt: skip
    async def test_a_bad_sparse_vector_is_refused(self, index: VectorIndex, tenant: str, sparse: SparseVector) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        with pytest.raises(InvalidInput):
            await index.upsert(tenant, "ko", [chunk("good", terms(1)), chunk("bad", sparse)])
        with pytest.raises(InvalidInput):
            await index.search(tenant, "ko", sparse=sparse, dense=None, top_k=5)
        assert await index.count(tenant, "ko") == 0

    async def test_other_bad_input_is_refused(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=2)
        good = chunk("d", terms(1), dense=[1.0, 0.0])
        for bad in (replace(good, id="no uuid"), replace(good, dense=[1.0]), replace(good, dense=[math.nan, 1.0])):
            with pytest.raises(InvalidInput):
                await index.upsert(tenant, "ko", [bad])
        await index.upsert(tenant, "ko", [good])
        for dense in ([1.0], [math.nan, 0.0]):
            with pytest.raises(InvalidInput):
                await index.search(tenant, "ko", sparse=terms(1), dense=dense, top_k=5)
        with pytest.raises(InvalidInput):
            await index.search(tenant, "ko", sparse=terms(1), dense=None, top_k=0)
        await index.ensure(tenant, "plain", dimension=None)
        with pytest.raises(InvalidInput):
            await index.search(tenant, "plain", sparse=terms(1), dense=[1.0, 0.0], top_k=5)
        with pytest.raises(InvalidInput):
            await index.upsert(tenant, "plain", [good])

    async def test_no_points_and_many_points(self, index: VectorIndex, tenant: str) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        await index.upsert(tenant, "ko", [])
        await index.upsert(tenant, "ko", [chunk(f"d{n}", terms(1, 2 + n)) for n in range(1_203)])
        assert await index.count(tenant, "ko") == 1_203
        assert documents(await self.find(index, tenant, 1_204)) == ["d1202"]

    async def test_searches_go_on_while_documents_are_written_and_replaced(
        self, index: VectorIndex, tenant: str
    ) -> None:
        await index.ensure(tenant, "ko", dimension=None)
        await index.upsert(tenant, "ko", [chunk("fixed", terms(1, 7))])

        async def write() -> None:
            for version in range(10):
                batch = [chunk(f"d{n}", terms(1, 2), content=f"v{version}") for n in range(50)]
                await index.upsert(tenant, "ko", batch)
                for n in range(0, 50, 10):
                    await index.delete_document(tenant, "ko", f"d{n}", keep=f"v{version}")

        async def read() -> None:
            for _ in range(20):
                assert documents(await self.find(index, tenant, 7)) == ["fixed"]

        await asyncio.gather(write(), *(read() for _ in range(20)))
        assert await index.count(tenant, "ko") == 1 + 45 * 10 + 5

    async def test_check_passes_where_the_index_works(self, index: VectorIndex) -> None:
        await index.check()


class TestEdge:
    async def test_a_collection_survives_closing_and_opening(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        await index.ensure("t", "ko", dimension=2)
        await index.upsert("t", "ko", [chunk("d", terms(1), dense=[1.0, 0.0], lang="ko"), chunk("gone", terms(1))])
        await index.delete_document("t", "ko", "gone")
        await index.close()
        await index.close()
        index = EdgeIndex(tmp_path)
        await index.ensure("t", "ko", dimension=2)
        [found] = await index.search("t", "ko", sparse=terms(1), dense=[1.0, 0.0], top_k=5, filter={"lang": "ko"})
        assert found.document_id == "d"
        await index.close()

    async def test_what_was_written_survives_the_death_of_the_process(self, tmp_path: Path) -> None:
        code = (
            "import asyncio, os, signal, sys; from pathlib import Path\n"
            "from infra.vectors.edge import EdgeIndex; from tests.contract.test_vector_index import chunk, terms\n"
            "async def main():\n"
            "    index = EdgeIndex(Path(sys.argv[1]))\n"
            "    await index.ensure('t', 'ko', dimension=None)\n"
            "    await index.upsert('t', 'ko', [chunk(f'd{n}', terms(1)) for n in range(700)])\n"
            "    await index.delete_document('t', 'ko', 'd3')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path))
        assert await process.wait() == -signal.SIGKILL
        index = EdgeIndex(tmp_path)
        assert await index.count("t", "ko") == 699
        await index.close()

    async def test_a_second_user_of_the_folder_is_refused_with_a_reason(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        with pytest.raises(Conflict, match="one process at a time"):
            EdgeIndex(tmp_path)
        code = (
            "import sys; from pathlib import Path; from infra.vectors.edge import EdgeIndex\n"
            "EdgeIndex(Path(sys.argv[1]))\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(tmp_path), stderr=subprocess.PIPE
        )
        _, stderr = await process.communicate()
        assert process.returncode == 1
        assert b"Conflict" in stderr
        await index.close()
        await EdgeIndex(tmp_path).close()

    async def test_more_collections_than_may_be_open(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path, open_at_most=2)

        async def use(n: int) -> None:
            await index.ensure("t", f"c{n}", dimension=None)
            await index.upsert("t", f"c{n}", [chunk(f"d{n}", terms(1))])
            for _ in range(3):
                assert documents(await index.search("t", f"c{n}", sparse=terms(1), dense=None, top_k=5)) == [f"d{n}"]

        await asyncio.gather(*(use(n) for n in range(8)))
        assert len(index._shards._open) <= 2
        await index.close()

    async def test_a_collection_is_dropped_in_the_middle_of_searches(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        await index.ensure("t", "ko", dimension=None)
        await index.upsert("t", "ko", [chunk("d", terms(1))])

        async def search_until_gone() -> int:
            done = 0
            while True:
                try:
                    assert documents(await index.search("t", "ko", sparse=terms(1), dense=None, top_k=5)) == ["d"]
                except NotFound:
                    return done
                done += 1

        searches = [asyncio.create_task(search_until_gone()) for _ in range(8)]
        await index.search("t", "ko", sparse=terms(1), dense=None, top_k=5)
        await index.drop("t", "ko")
        assert sum(await asyncio.wait_for(asyncio.gather(*searches), 30)) > 0
        assert os.listdir(tmp_path) == [".lock"]
        await index.close()

    async def test_what_a_crash_left_unfinished_is_removed(self, tmp_path: Path) -> None:
        (tmp_path / ".unfinished-1" / "shard").mkdir(parents=True)
        index = EdgeIndex(tmp_path)
        assert os.listdir(tmp_path) == [".lock"]
        await index.close()

    async def test_a_damaged_collection_is_reported(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        await index.ensure("t", "ko", dimension=None)
        await index.close()
        (tmp_path / index_name("t", "ko") / "shard" / "edge_config.json").write_text("no JSON")
        index = EdgeIndex(tmp_path)
        with pytest.raises(DependencyUnavailable):
            await index.count("t", "ko")
        await index.drop("t", "ko")
        assert await index.count("t", "ko") == 0
        await index.close()

    async def test_a_closed_index_says_so(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        await index.close()
        with pytest.raises(DependencyUnavailable):
            await index.check()
        with pytest.raises(DependencyUnavailable):
            await index.count("t", "ko")


async def test_a_dead_qdrant_server_is_reported() -> None:
    index = QdrantIndex("http://127.0.0.1:1", timeout_s=2)
    for attempt in (
        index.check(),
        index.ensure("t", "ko", dimension=None),
        index.count("t", "ko"),
        index.search("t", "ko", sparse=terms(1), dense=None, top_k=5),
        index.upsert("t", "ko", [chunk("d", terms(1))]),
        index.delete_document("t", "ko", "d"),
        index.drop("t", "ko"),
    ):
        with pytest.raises(DependencyUnavailable):
            await attempt
    await index.close()


def test_names_never_collide() -> None:
    names = {index_name(*pair) for pair in (("a", "b-c"), ("a-b", "c"), ("a", "B-C"), ('a", "b', "c"), ("", "ab"))}
    assert len(names) == 5
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") and len(name) < 128 for name in names)


def test_equal_values_have_equal_facets_and_others_differ() -> None:
    assert facet("f", 1) == facet("f", 1.0)
    assert facet("f", "x" * 9999) == facet("f", "x" * 9999)
    assert len({facet("f", v) for v in (1, "1", True, "true", None, "null", 1.5, "x" * 9999, "x" * 9998)}) == 9
    assert facet('a", "b', "c") != facet("a", 'b", "c')


scores = st.dictionaries(st.text(max_size=3), st.floats(-1e6, 1e6), max_size=20)


@given(st.dictionaries(st.sampled_from(["sparse", "dense"]), scores, min_size=1))
def test_fused_scores_lie_between_0_and_1_and_name_every_chunk(arms: dict[str, dict[str, float]]) -> None:
    fused = fuse(arms)
    assert set(fused) == {chunk for arm in arms.values() for chunk in arm}
    assert all(0 <= score <= 1 + 1e-9 for score in fused.values())


@given(scores)
def test_a_lone_arm_keeps_its_order(arm: dict[str, float]) -> None:
    fused = fuse({"sparse": arm})
    ordered = sorted(arm, key=arm.__getitem__)
    assert all(fused[a] <= fused[b] for a, b in pairwise(ordered))


def test_fusion_by_hand() -> None:
    fused = fuse({"sparse": {"a": 30.0, "b": 20.0, "c": 10.0}, "dense": {"b": 0.9, "d": 0.1}})
    assert fused == pytest.approx({"a": 0.5, "b": 0.75, "c": 0.0, "d": 0.0})
