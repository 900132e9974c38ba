"""Metrics of answers against published values, reference implementations and their laws; tests keep their level."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ranking.bootstrap import difference, mean_interval, mean_intervals
from consumers.ranking.metrics import Places, precision
from consumers.scoring.comparing import compare, holm, mcnemar, smallest_detectable
from consumers.scoring.ngrams import bleu, chrf
from consumers.scoring.texts import (
    best,
    characters,
    common_subsequence,
    contains,
    exact_match,
    f1,
    normalised,
    rouge_l,
    without_citations,
)

KORQUAD = [
    # answer, reference, and what KorQuAD 1.0's evaluate-v1.0.py says: exact match, F1
    ("1,947미터이다.", "1,947미터", 0.0, 12 / 14),
    ("《훈민정음》", "훈민정음", 1.0, 1.0),
    ("세종(이도)", "세종 이도", 1.0, 1.0),
    ("Apple II", "apple ii", 1.0, 1.0),
    ("서울", "부산", 0.0, 0.0),
    ("가나다", "다나", 0.0, 0.8),
    ("‘나’의 이름", "나 의 이름", 1.0, 1.0),
    ("3.1운동", "31운동", 1.0, 1.0),
]


@pytest.mark.parametrize(("answer", "reference", "exact", "score"), KORQUAD)
def test_exact_match_and_the_f1_of_characters_are_those_of_korquads_script(
    answer: str, reference: str, exact: float, score: float
) -> None:
    assert exact_match(answer, reference) == exact
    assert f1(characters(answer), characters(reference)) == pytest.approx(score)


def test_decomposed_hangul_is_the_same_text() -> None:
    assert exact_match("한글", "한글") == 1
    assert normalised("한글  “Ａ”") == "한글 “ａ”"


def test_an_answer_that_quotes_the_reference_contains_it() -> None:
    assert contains("한라산은 높이가 1,947미터이다. [1]", "1947 미터") == 0
    assert contains("한라산은 높이가 1,947미터이다. [1]", "1,947미터") == 1
    assert contains("무엇이든", "?!") == 0


def test_source_numbers_are_no_part_of_an_answer() -> None:
    assert without_citations("서울이다. [1] 그리고 크다 [2, 3].") == "서울이다. 그리고 크다."
    assert without_citations("배열 a[i]와 [2024년]") == "배열 a[i]와 [2024년]"


def test_rouge_l_of_the_examples_in_lins_paper() -> None:
    reference = ["police", "killed", "the", "gunman"]
    assert rouge_l(["police", "kill", "the", "gunman"], reference) == 0.75
    assert rouge_l(["the", "gunman", "kill", "police"], reference) == 0.5
    assert rouge_l(["the", "gunman", "police", "killed"], reference) == 0.5


TOKENS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(TOKENS, TOKENS)
def test_the_common_subsequence_is_as_long_as_the_textbooks(a: list[str], b: list[str]) -> None:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a, 1):
        for j, other in enumerate(b, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if one == other else max(table[i - 1][j], table[i][j - 1])
    assert common_subsequence(a, b) == table[-1][-1]


@given(TOKENS, TOKENS)
def test_scores_are_shares_and_symmetric_where_they_should_be(a: list[str], b: list[str]) -> None:
    for score in (f1, rouge_l):
        assert 0 <= score(a, b) <= 1
        assert score(a, b) == pytest.approx(score(b, a))
        assert score(a, a) == 1


def test_the_best_reference_counts() -> None:
    assert best(exact_match, "부산", ["서울", "부산"]) == 1
    with pytest.raises(ValueError, match="empty"):
        best(exact_match, "부산", [])


def test_chrf_is_popovics_by_hand() -> None:
    # "ab" against "abc": 1-grams P 1, R 2/3; 2-grams P 1, R 1/2; higher orders have no n-gram of the answer.
    p, r = 1.0, (2 / 3 + 1 / 2) / 2
    assert chrf("a b", ["abc"]) == pytest.approx(5 * p * r / (4 * p + r), abs=1e-3)
    assert chrf("한글", ["한글"]) == pytest.approx(1)
    assert chrf("서울", ["부산", "서울"]) == pytest.approx(1)
    assert chrf("", ["서울"]) == 0


def test_bleu_of_papinenis_second_example() -> None:
    # Candidate "the the the the the the the": the clipped unigram precision is 2/7; sacrebleu smooths the rest.
    reference = ["the", "cat", "is", "on", "the", "mat"]
    halved = [2 / 7, 1 / (2 * 6), 1 / (4 * 5), 1 / (8 * 4)]
    expected = math.exp(sum(map(math.log, halved)) / 4)
    assert bleu(["the"] * 7, [reference]) == pytest.approx(expected)
    assert bleu(reference, [["x"], reference]) == pytest.approx(1)
    assert bleu(["서울"], [["서울"]]) == pytest.approx(1)
    assert bleu(["서울"], [["서울", "이", "다"]]) == pytest.approx(math.exp(1 - 3))


def test_precision_counts_empty_places_as_misses() -> None:
    found = Places.of([["a", "x", "b"], ["a"]], [{"a", "b"}, {"a"}])
    assert precision(found, 1).tolist() == [1, 1]
    assert precision(found, 5).tolist() == [0.4, 0.2]


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (8, 0, 0.0078125), (0, 8, 0.0078125), (9, 1, 0.021484375), (5, 5, 1.0), (121, 59, 4.434446e-06)],
)
def test_mcnemars_test_is_exact(wins: int, losses: int, p: float) -> None:
    assert mcnemar(wins, losses) == pytest.approx(p, rel=1e-5)


def test_mcnemars_test_takes_fifty_thousand_questions() -> None:
    assert mcnemar(25_400, 24_600) == pytest.approx(2 * 1.75e-4, rel=0.05)  # the normal approximation: z = 3.573


def test_holms_correction_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1, 1]


def test_the_smallest_difference_is_that_of_the_power_formula() -> None:
    assert smallest_detectable(1.0) == pytest.approx(1.959964 + 0.841621, rel=1e-5)


def test_columns_share_resamples_and_missing_values_are_left_out() -> None:
    random = np.random.default_rng(1)
    values = random.random((200, 2))
    one, other = mean_intervals(values)
    alone = mean_interval(values[:, 0])
    assert (one.mean, one.low, one.high) == pytest.approx((alone.mean, alone.low, alone.high))
    values[:50, 1] = np.nan
    _, fewer = mean_intervals(values)
    assert fewer.mean == pytest.approx(values[50:, 1].mean())
    assert fewer.high - fewer.low > other.high - other.low
    with pytest.raises(ValueError, match="value at least in each column"):
        mean_intervals(np.full((3, 1), np.nan))


def test_questions_about_one_document_are_not_independent() -> None:
    """Ten identical questions each: the interval is as wide as that of the documents themselves."""
    documents = np.random.default_rng(2).random(40)
    questions = np.repeat(documents, 10)[:, np.newaxis]
    [clustered] = mean_intervals(questions, clusters=np.repeat(np.arange(40), 10))
    of_documents = mean_interval(documents)
    assert (clustered.low, clustered.high) == pytest.approx((of_documents.low, of_documents.high))
    [blind] = mean_intervals(questions)
    assert blind.high - blind.low < (clustered.high - clustered.low) / 2


def test_a_real_difference_is_found_and_noise_is_not() -> None:
    random = np.random.default_rng(3)
    theirs = random.random((300, 2))
    ours = theirs + random.normal(0, 0.1, (300, 2)) + [0.05, 0.0]
    gained, noise = compare(["gained", "noise"], ours, theirs)
    assert gained.significant
    assert gained.gain.low > 0
    assert gained.gain.ci95 == difference(ours[:, 0], theirs[:, 0]).ci95
    assert gained.p_adjusted == 2 * gained.p
    assert not noise.significant
    assert noise.gain.low < 0 < noise.gain.high
    assert gained.test == noise.test == "bootstrap"
    # 2.8 standard errors of a difference with a deviation of 0.1 over 300 questions.
    assert gained.detectable == pytest.approx(2.8 * 0.1 / math.sqrt(300), rel=0.1)


def test_right_and_wrong_are_compared_by_mcnemar_unless_questions_are_clustered() -> None:
    ours, theirs = np.ones((20, 1)), np.ones((20, 1))
    theirs[:9] = 0
    ours[9] = 0
    [told] = compare(["exact_match"], ours, theirs)
    assert (told.test, told.p) == ("mcnemar", mcnemar(9, 1))
    assert told.gain.mean == pytest.approx(0.4)
    [clustered] = compare(["exact_match"], ours, theirs, clusters=["d"] * 10 + ["e"] * 10)
    assert clustered.test == "bootstrap"


def test_pairs_with_a_missing_score_are_left_out() -> None:
    ours, theirs = np.array([[1.0, np.nan], [0.5, np.nan]]), np.array([[0.5, 1.0], [np.nan, 1.0]])
    [only] = compare(["f1", "mrr"], ours, theirs)
    assert (only.metric, only.n, only.gain.mean) == ("f1", 1, 0.5)
    assert compare(["f1"], np.full((2, 1), np.nan), np.ones((2, 1))) == []
    with pytest.raises(ValueError, match="same questions and metrics"):
        compare(["f1"], np.ones((2, 1)), np.ones((3, 1)))


def test_the_paired_test_keeps_its_level() -> None:
    """Without a difference, about one comparison in twenty is called significant at 5 %."""
    random = np.random.default_rng(4)
    ours, theirs = random.random((100, 400)), random.random((100, 400))
    p = [one.p for one in compare([str(n) for n in range(400)], ours, theirs, resamples=2_000)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09
