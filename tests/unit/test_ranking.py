"""Metrics, by hand and by their laws, and intervals that cover what they claim to cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ranking.bootstrap import difference, mean_interval
from consumers.ranking.lexical import Postings
from consumers.ranking.metrics import METRICS, Places, documents, ndcg, recall, reciprocal_rank, success
from schemas.retrieval import SparseVector

IDS = [f"d{number}" for number in range(12)]


def places(ranked: list[str], relevant: set[str]) -> Places:
    return Places.of([ranked], [relevant])


def test_one_relevant_document_at_the_third_place():
    found = places(["a", "b", "c", "d"], {"c"})
    assert recall(found, 1) == [0]
    assert recall(found, 5) == [1]
    assert success(found, 3) == [1]
    assert success(found, 2) == [0]
    assert ndcg(found, 10) == pytest.approx([0.5])  # 1 / log2(4)
    assert reciprocal_rank(found) == pytest.approx([1 / 3])


def test_several_relevant_documents_share_the_gain():
    # Gains at ranks 1 and 4 of three relevant ones: (1 + 1/log2(5)) / (1 + 1/log2(3) + 1/log2(4)).
    found = places(["a", "x", "y", "b"], {"a", "b", "lost"})
    assert recall(found, 1) == pytest.approx([1 / 3])
    assert recall(found, 5) == pytest.approx([2 / 3])
    assert success(found, 1) == [1]
    assert ndcg(found, 10) == pytest.approx([(1 + 1 / math.log2(5)) / (1 + 1 / math.log2(3) + 1 / 2)])
    assert reciprocal_rank(found) == [1]


def test_the_ideal_of_ndcg_holds_no_more_than_k_documents():
    assert ndcg(places(["a", "b"], {"a", "b", "c", "d"}), 2) == pytest.approx([1.0])


def test_a_question_of_which_nothing_was_found_scores_zero_everywhere():
    found = places([], {"a"})
    assert {name: float(metric(found)[0]) for name, metric in METRICS.items()} == dict.fromkeys(METRICS, 0.0)


def test_each_question_keeps_its_own_value():
    found = Places.of([["a"], ["b", "a"], []], [{"a"}, {"a", "c"}, {"b"}])
    assert recall(found, 1).tolist() == [1, 0, 0]
    assert recall(found, 5).tolist() == [1, 0.5, 0]
    assert reciprocal_rank(found).tolist() == [1, 0.5, 0]


def test_a_repeated_document_is_refused():
    with pytest.raises(ValueError, match="each document once"):
        places(["a", "a"], {"a"})


def test_a_question_without_a_relevant_document_is_refused():
    with pytest.raises(ValueError, match="question 1 has no relevant document"):
        Places.of([["a"], ["a"]], [{"a"}, set()])


def test_documents_rank_where_their_best_chunk_ranks():
    assert documents(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]


rankings = st.permutations(IDS).flatmap(lambda ids: st.integers(0, len(ids)).map(lambda n: list(ids[:n])))
relevant_sets = st.sets(st.sampled_from(IDS), min_size=1)


@given(rankings, relevant_sets)
def test_every_metric_lies_between_zero_and_one(ranked: list[str], relevant: set[str]):
    for metric in METRICS.values():
        assert 0 <= metric(places(ranked, relevant))[0] <= 1 + 1e-12


@given(relevant_sets)
def test_the_best_ranking_has_full_gain(relevant: set[str]):
    best = sorted(relevant) + [one for one in IDS if one not in relevant]
    assert ndcg(places(best, relevant), 10) == pytest.approx([1.0])
    assert recall(places(best, relevant), len(relevant)) == [1]


@given(rankings.filter(lambda ranked: len(ranked) > 1), relevant_sets, st.data())
def test_moving_a_relevant_document_up_never_costs_anything(ranked: list[str], relevant: set[str], data: st.DataObject):
    at = data.draw(st.integers(1, len(ranked) - 1))
    better = list(ranked)
    if better[at] in relevant:
        better[at - 1], better[at] = better[at], better[at - 1]
    for metric in METRICS.values():
        assert metric(places(better, relevant))[0] >= metric(places(ranked, relevant))[0] - 1e-12


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(7)
    covered = 0
    for trial in range(300):
        interval = mean_interval(random.random(60) < 0.8, resamples=500, seed=trial)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.89 <= covered / 300 <= 0.99


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(1).random(100)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_a_constant_has_no_spread():
    interval = mean_interval([0.5] * 10)
    assert (interval.mean, interval.low, interval.high) == (0.5, 0.5, 0.5)


def test_a_paired_difference_sees_what_two_intervals_would_hide():
    theirs = np.random.default_rng(2).random(200)
    ours = theirs + 0.01
    assert mean_interval(ours).low < mean_interval(theirs).high
    assert difference(ours, theirs).above_zero
    assert not difference(theirs, ours).above_zero


def test_systems_that_are_equal_are_not_told_apart():
    random = np.random.default_rng(5)
    assert not difference(random.random(300), random.random(300)).above_zero


def test_different_questions_cannot_be_paired():
    with pytest.raises(ValueError, match="same questions"):
        difference([1.0, 0.0], [1.0])


def test_no_question_gives_no_interval():
    with pytest.raises(ValueError, match="a question at least"):
        mean_interval([])


def test_scores_are_the_dot_product_with_rarity():
    chunks = [SparseVector([1, 5], [2.0, 1.0]), SparseVector([5], [3.0]), SparseVector([], [])]
    scores = Postings(chunks).scores(SparseVector([1, 5, 9], [1.0, 0.5, 1.0]))
    rare, common = math.log(1 + (3 - 1 + 0.5) / 1.5), math.log(1 + (3 - 2 + 0.5) / 2.5)
    assert scores == pytest.approx([2 * rare + 0.5 * common, 1.5 * common, 0])


def test_a_query_that_shares_no_term_scores_nothing():
    assert Postings([SparseVector([1], [1.0])]).scores(SparseVector([2], [1.0])).tolist() == [0]


def test_other_weights_of_the_same_terms_are_as_good_as_made_anew():
    one = [SparseVector([3, 7], [1.0, 2.0]), SparseVector([1, 7], [4.0, 1.0])]
    other = [SparseVector([3, 7], [5.0, 1.0]), SparseVector([1, 7], [2.0, 9.0])]
    query = SparseVector([1, 3, 7], [1.0, 1.0, 2.0])
    postings = Postings(one, idf=False)
    assert postings.scores(query).tolist() == [5, 6]
    postings.reweigh(other)
    assert postings.scores(query).tolist() == Postings(other, idf=False).scores(query).tolist() == [7, 20]
