"""How every `VectorIndex` treats several arms, documents' shares and their caps."""

from uuid import uuid4

import pytest

from consumers.stages.ports import VectorIndex
from infra.vectors.fusion import question_weights
from schemas.collections import FusionSettings, FusionWeights
from schemas.retrieval import IndexName, Query, SparseVector
from tests.contract.vectors import FUSION, NOTHING, chunk, documents, index_of, query, terms

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")


@pytest.fixture
def ko() -> IndexName:
    return index_of(f"tenant-{uuid4().hex[:8]}")


async def test_dense_and_sparse_arms_are_fused(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=2)
    both = chunk("both", terms(1, weight=2), dense=[1.0, 0.0])
    words = chunk("words", terms(1, weight=1), dense=[-1.0, 0.0])
    await index.upsert(ko, [both, words, chunk("sense", terms(2), dense=[0.6, 0.8])])
    found = await index.search(ko, query(1, dense=[1.0, 0.0]), top_k=3, fusion=FusionSettings(method="minmax"))
    assert documents(found) == ["both", "sense", "words"]
    assert [passage.score for passage in found] == pytest.approx([1.0, 0.4, 0.0], abs=1e-5)
    assert found[0].scores["dense"] == pytest.approx(1, abs=1e-5)
    assert found[1].scores == {"dense": pytest.approx(0.6, abs=1e-5)}
    assert found[2].scores["dense"] == pytest.approx(-1, abs=1e-5)
    assert found[2].scores["sparse"] > 0


@pytest.mark.parametrize(("asked", "covered"), [((1, 2, 3), 1.0), ((1, 98, 99), 1 / 3)])
async def test_auto_trusts_the_words_by_how_much_of_the_question_they_cover(
    index: VectorIndex, ko: IndexName, asked: tuple[int, ...], covered: float
) -> None:
    """No chunk holds the second question's other two terms; each counts as much as the rarest known one."""
    await index.ensure(ko, dimension=2)
    words = chunk("words", terms(1, 2, 3), dense=[0.0, 1.0])
    sense = chunk("sense", terms(4), dense=[1.0, 0.0])
    others = [chunk(f"d{n}", terms(5, 6 + n), dense=[0.1, 1.0 + n / 10]) for n in range(10)]
    await index.upsert(ko, [words, sense, *others])
    found = await index.search(ko, query(*asked, dense=[1.0, 0.0]), top_k=12, fusion=FUSION)
    raw: dict[str, dict[str, float]] = {"sparse": {}, "dense": {}}
    for passage in found:
        for arm, score in passage.scores.items():
            raw[arm][passage.document_id] = score
    highest = raw["sparse"]["words"] / covered
    weights = question_weights(raw, FUSION, {name: name for name in raw["dense"]}, highest)
    scores = {passage.document_id: passage.score for passage in found}
    assert scores["words"] - weights["sparse"] == pytest.approx(
        weights["dense"] * _scaled(raw["dense"], "words"), abs=1e-5
    )
    assert scores["sense"] == pytest.approx(weights["dense"], abs=1e-5)


def _scaled(scores: dict[str, float], name: str) -> float:
    low, high = min(scores.values()), max(scores.values())
    return (scores[name] - low) / (high - low)


async def test_learned_weights_are_an_arm_without_idf(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=2, learned=True)
    rare = chunk("rare", terms(1), dense=[0.0, 1.0], learned=SparseVector([7], [0.5]))
    common = chunk("common", terms(1), dense=[0.0, 1.0], learned=SparseVector([8], [0.6]))
    await index.upsert(ko, [rare, common, *(chunk(f"d{n}", terms(1), learned=terms(8)) for n in range(3))])
    only = FusionSettings(weights=FusionWeights(sparse=0, dense=0, learned=1))
    found = await index.search(ko, query(1, dense=[1.0, 0.0], learned=terms(7, 8)), top_k=9, fusion=only)
    assert [(one.document_id, one.score) for one in found[-2:]] == [
        ("common", pytest.approx(0.6)), ("rare", pytest.approx(0.5))
    ]  # fmt: skip
    assert found[-1].scores == {"learned": pytest.approx(0.5)}
    all_three = FusionSettings(weights=FusionWeights(sparse=0.2, dense=0.4, learned=0.4))
    found = await index.search(ko, query(1, dense=[0.0, 1.0], learned=terms(7)), top_k=1, fusion=all_three)
    assert documents(found) == ["rare"]
    assert set(found[0].scores) == {"sparse", "dense", "learned"}
    assert found[0].score == pytest.approx(1.0)


async def test_dense_alone_answers_a_query_without_terms(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=2)
    await index.upsert(ko, [chunk(d, terms(1), dense=v) for d, v in (("a", [0.0, 1.0]), ("b", [1.0, 0]))])
    found = await index.search(ko, Query(NOTHING, [1.0, 0.1]), top_k=1, fusion=FUSION)
    assert documents(found) == ["b"]
    assert found[0].score >= 0


async def test_sparse_alone_answers_where_there_are_dense_vectors(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=2)
    await index.upsert(ko, [chunk("a", terms(1)), chunk("b", terms(2), dense=[1.0, 0.0])])
    assert documents(await index.search(ko, query(1), top_k=10, fusion=FUSION)) == ["a"]


async def test_a_document_gives_no_more_than_its_cap_and_others_fill_up(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=None)
    long = [chunk("long", terms(1, weight=9 - n / 100), position=n) for n in range(300)]
    await index.upsert(ko, [*long, *(chunk(f"short{n}", terms(1, weight=0.1)) for n in range(3))])
    capped = FusionSettings(depth=10, per_document=2)
    found = await index.search(ko, query(1), top_k=5, fusion=capped)
    assert documents(found) == ["long", "long", "short0", "short1", "short2"]
    assert [passage.start for passage in found[:2]] == [0, 1]
    assert len(await index.search(ko, query(1), top_k=9, fusion=capped)) == 5


async def test_a_share_of_the_document_lifts_its_other_chunks(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=None)
    strong = [chunk("strong", terms(1, weight=weight), position=n) for n, weight in enumerate((3.0, 1.0))]
    await index.upsert(ko, [*strong, chunk("lone", terms(1, weight=1.2))])
    assert documents(await index.search(ko, query(1), top_k=10, fusion=FUSION)) == ["strong", "lone", "strong"]
    shared = FusionSettings(document_share=0.3)
    found = await index.search(ko, query(1), top_k=3, fusion=shared)
    assert documents(found) == ["strong", "strong", "lone"]
