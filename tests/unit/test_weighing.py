"""What a question's weights depend on, and what they do not depend on."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.vectors.fusion import question_weights
from infra.vectors.weighing import TERMS, ceiling, log_odds, share, telling
from schemas.collections import FusionSettings, FusionWeights

CLEAR = {f"d{n}": score for n, score in enumerate([9.0, *(2.0 - n / 100 for n in range(49))])}
"""An arm with one document that stands apart."""
VAGUE = {f"e{n}": 2.0 - n / 100 for n in range(50)}
"""An arm whose best document is one of many like it."""

scores = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=80).map(
    lambda values: {f"d{n}": score for n, score in enumerate(sorted(values, reverse=True))}
)


def test_words_that_cover_the_question_count_more() -> None:
    assert log_odds(CLEAR, VAGUE, 10.0) > log_odds(CLEAR, VAGUE, 30.0)


def test_the_arm_whose_lead_is_clear_counts_more() -> None:
    others = {f"f{n}": score for n, score in enumerate(VAGUE.values())}
    assert log_odds(CLEAR, others, 20.0) > log_odds(VAGUE, others, 40 / 9) > log_odds(VAGUE, CLEAR, 40 / 9)


def test_a_model_that_agrees_with_the_words_counts_more() -> None:
    agreeing = dict(zip(CLEAR, VAGUE.values(), strict=True))
    assert log_odds(CLEAR, agreeing, 20.0) < log_odds(CLEAR, VAGUE, 20.0)


def test_scores_that_differ_by_rounding_alone_show_no_lead() -> None:
    same = {"d0": 1_000.0, "d1": 1_000.0}
    rounded = {"d0": math.nextafter(1_000.0, math.inf), "d1": 1_000.0}
    assert log_odds(rounded, same, 1.0) == log_odds(same, rounded, 1.0) == log_odds(same, same, 1.0)


@given(scores, scores, st.floats(0.01, 1e6), st.floats(0.1, 1_000))
def test_the_measure_of_the_models_scores_does_not_matter(
    sparse: dict[str, float], model: dict[str, float], ceiling: float, factor: float
) -> None:
    measured = {name: score * factor for name, score in model.items()}
    assert log_odds(sparse, measured, ceiling) == pytest.approx(log_odds(sparse, model, ceiling), abs=1e-3)


@given(scores, scores, st.floats(0.01, 1e6), st.floats(0.01, 1), st.floats(0.01, 1), st.just(0.0) | st.floats(0.01, 1))
def test_weights_are_1_together_and_every_arm_keeps_some(
    sparse: dict[str, float], model: dict[str, float], ceiling: float, words: float, dense: float, learned: float
) -> None:
    settings = FusionSettings(weights=FusionWeights(sparse=words, dense=dense, learned=learned))
    arms = {"sparse": sparse, "dense": model, **({"learned": model} if learned else {})}
    found = question_weights(arms, settings, {name: name for name in {*sparse, *model}}, ceiling)
    assert math.isclose(sum(found.values()), 1.0)
    assert all(0 < weight < 1 for weight in found.values())
    if learned:
        assert found["learned"] / found["dense"] == pytest.approx(learned / dense)


def test_the_weights_that_are_given_shift_those_of_every_question() -> None:
    odds = log_odds(CLEAR, VAGUE, 20.0)
    assert share(odds, 0.3) < share(odds, 0.5) < share(odds, 0.7)
    assert share(0.0, 0.3) == pytest.approx(0.3)
    assert (share(odds, 0.0), share(odds, 1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("method", ["minmax", "rrf"])
def test_other_methods_keep_the_weights_they_were_given(method: str) -> None:
    settings = FusionSettings.model_validate({"method": method, "weights": {"sparse": 0.9, "dense": 0.3}})
    documents = {name: name for name in {*CLEAR, *VAGUE}}
    found = question_weights({"sparse": CLEAR, "dense": VAGUE}, settings, documents, 10.0)
    assert found == pytest.approx({"sparse": 0.75, "dense": 0.25})


def test_the_ceiling_is_what_all_terms_give_at_their_best() -> None:
    assert ceiling([1.0, 0.5], [6.0, 1.0]) == 7.0
    assert ceiling([1.0, 0.5], [6.0, 0.0]) == 9.0, "a term that no chunk holds is as rare as the rarest known"
    assert ceiling([1.0, 0.5], [0.0, 0.0]) == 0.0


def test_of_a_long_question_the_heaviest_terms_stand_for_all() -> None:
    weights = [0.25] * 40 + [1.0] * TERMS
    assert telling(weights) == list(range(40, 40 + TERMS))
    assert ceiling(weights, [3.0] * TERMS) == pytest.approx(3.0 * (TERMS + 10))
