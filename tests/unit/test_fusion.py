"""How the arms' results become one ranking, in examples worked by hand and as properties."""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infra.vectors.fusion import Scores, arms_that_count, ranked
from infra.vectors.fusion import fuse as fused
from schemas.collections import FusionSettings, FusionWeights

ARMS = {"sparse": {"a": 30.0, "b": 20.0, "c": 10.0}, "dense": {"b": 0.9, "d": 0.1}}

scores = st.dictionaries(
    st.sampled_from([f"{d}{n}" for d in "abcd" for n in range(6)]), st.floats(-1e6, 1e6), max_size=20
)
arms = st.dictionaries(st.sampled_from(["sparse", "dense", "learned"]), scores, min_size=1)
weight = st.floats(0.01, 1)
methods: st.SearchStrategy[Literal["minmax", "rrf"]] = st.sampled_from(["minmax", "rrf"])


def fuse(arms: Mapping[str, Scores], settings: FusionSettings) -> dict[str, float]:
    return fused(arms, arms_that_count(arms, settings), settings)


def weighed(sparse: float, dense: float, learned: float = 0.0, **more: object) -> FusionSettings:
    weights = FusionWeights(sparse=sparse, dense=dense, learned=learned)
    return FusionSettings.model_validate({"weights": weights, **more})


def ranking(found: dict[str, float], settings: FusionSettings) -> list[tuple[str, float]]:
    """The ranking of chunks that are named by their document's letter and their number in it."""
    return ranked(found, settings, {chunk: (chunk[0], int(chunk[1:] or 0)) for chunk in found})


def test_minmax_by_hand() -> None:
    assert fuse(ARMS, FusionSettings()) == pytest.approx({"a": 0.5, "b": 0.75, "c": 0.0, "d": 0.0})
    assert fuse(ARMS, weighed(0.9, 0.3)) == pytest.approx({"a": 0.75, "b": 0.625, "c": 0.0, "d": 0.0})


def test_reciprocal_ranks_by_hand() -> None:
    found = fuse(ARMS, weighed(1, 1, method="rrf", rrf_k=60))
    assert found == pytest.approx({"a": 0.5 / 61, "b": 0.5 / 62 + 0.5 / 61, "c": 0.5 / 63, "d": 0.5 / 62})


def test_an_arm_that_is_missing_does_not_count() -> None:
    assert fuse({"dense": ARMS["dense"]}, weighed(0.9, 0.1)) == {"b": 1.0, "d": 0.0}
    two = fuse({**ARMS, "sparse": {}}, weighed(0.5, 0.5, 0.9))
    assert two == pytest.approx({"b": 0.5, "d": 0.0})


def test_an_arm_of_weight_0_counts_only_when_alone() -> None:
    assert fuse(ARMS, weighed(0, 1)) == {"b": 1.0, "d": 0.0}
    assert fuse({"sparse": ARMS["sparse"]}, weighed(0, 1)) == ARMS["sparse"]


@pytest.mark.parametrize("arm", ["sparse", "learned"])
def test_a_lone_arm_of_term_weights_keeps_its_scores(arm: str) -> None:
    assert fuse({arm: ARMS["sparse"]}, FusionSettings(method="rrf")) == ARMS["sparse"]


def test_an_arm_whose_scores_are_equal_gives_1_to_each() -> None:
    assert fuse({"dense": {"a": 0.3, "b": 0.3}}, FusionSettings()) == {"a": 1.0, "b": 1.0}


def test_the_share_of_the_document_by_hand() -> None:
    found = ranking({"a0": 1.0, "a1": 0.2, "b0": 0.5}, FusionSettings(document_share=0.5))
    assert found == [("a0", 1.0), ("a1", pytest.approx(0.6)), ("b0", 0.5)]


def test_the_cap_keeps_a_documents_best() -> None:
    found = ranking({"a0": 0.1, "a1": 0.9, "a2": 0.8, "b0": 0.5}, FusionSettings(per_document=2))
    assert found == [("a1", 0.9), ("a2", 0.8), ("b0", 0.5)]


def test_ties_go_by_document_and_place() -> None:
    found = ranking(dict.fromkeys(("b1", "a2", "b0", "a10"), 0.5), FusionSettings())
    assert [chunk for chunk, _ in found] == ["a2", "a10", "b0", "b1"]


@given(arms, weight, weight, weight, methods)
def test_scores_name_every_chunk_of_the_arms(
    found: dict[str, dict[str, float]], sparse: float, dense: float, learned: float, method: str
) -> None:
    fused = fuse(found, weighed(sparse, dense, learned, method=method))
    assert set(fused) == {chunk for arm in found.values() for chunk in arm}
    if len(found) > 1 or "dense" in found:
        assert all(0 <= score <= 1 + 1e-9 for score in fused.values())


@given(arms, weight, weight, weight, st.sampled_from([0.5, 0.25, 0.125]), methods)
def test_only_the_ratio_of_the_weights_matters(
    found: dict[str, dict[str, float]], sparse: float, dense: float, learned: float, scale: float, method: str
) -> None:
    whole = fuse(found, weighed(sparse, dense, learned, method=method))
    scaled = fuse(found, weighed(sparse * scale, dense * scale, learned * scale, method=method))
    assert scaled == pytest.approx(whole)


@given(arms, methods, st.floats(0, 0.9))
def test_what_is_better_in_every_arm_is_better_in_all(
    found: dict[str, dict[str, float]], method: str, share: float
) -> None:
    settings = weighed(0.3, 0.3, 0.3, method=method, document_share=share)
    order = {chunk: place for place, (chunk, _) in enumerate(ranking(fuse(found, settings), settings))}
    for better, worse in pairwise(sorted(order)):
        if better[0] != worse[0]:
            continue  # the document's share may lift a chunk over those of other documents
        ahead = [arm.get(better, -1e9) - arm.get(worse, -1e9) for arm in found.values()]
        # Scaling loses less than a millionth of the largest score.
        if all(gap > 10 for gap in ahead):
            assert order[better] < order[worse]


@given(scores, st.integers(1, 3), st.floats(0, 0.9))
def test_no_document_exceeds_its_cap_and_the_rest_keeps_its_order(
    found: dict[str, float], cap: int, share: float
) -> None:
    capped = ranking(found, FusionSettings(per_document=cap, document_share=share))
    assert all(number <= cap for number in Counter(chunk[0] for chunk, _ in capped).values())
    assert [item for item in ranking(found, FusionSettings(document_share=share)) if item in capped] == capped
    assert {chunk[0] for chunk, _ in capped} == {chunk[0] for chunk in found}


@given(scores)
def test_a_lone_dense_arm_keeps_its_order(found: dict[str, float]) -> None:
    assume(found)
    fused = fuse({"dense": found}, FusionSettings())
    assert all(fused[a] <= fused[b] for a, b in pairwise(sorted(found, key=found.__getitem__)))
