"""Agreement of two raters, beside published values and what must hold for any ratings."""

import numpy as np
import pytest

from consumers.scoring.agreement import cohens_kappa, spearman


def ratings(table: list[list[int]]) -> tuple[list[int], list[int]]:
    """Two raters' categories from a table of counts."""
    pairs = [(a, b) for a, row in enumerate(table) for b, count in enumerate(row) for _ in range(count)]
    return [a for a, _ in pairs], [b for _, b in pairs]


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # Two readers of 50 grant proposals, and two tables with the same agreement, as textbooks show them.
        ([[20, 5], [10, 15]], 0.4),
        ([[45, 15], [25, 15]], 0.1304),
        ([[25, 35], [5, 35]], 0.2593),
        # Fleiss, Levin and Paik (2003), table 18.1: two clinicians, 100 patients, three diagnoses.
        ([[75, 1, 4], [5, 4, 1], [0, 0, 10]], 0.6765),
    ],
)
def test_kappa_of_published_tables(table: list[list[int]], kappa: float) -> None:
    ours, theirs = ratings(table)
    assert cohens_kappa(ours, theirs, len(table)) == pytest.approx(kappa, abs=1e-4)


def test_weights_count_how_far_apart_two_ratings_are() -> None:
    ours = [0, 1, 2, 3, 4] * 4
    near, far = [0, 1, 2, 3, 3] * 4, [0, 1, 2, 3, 0] * 4
    weighted = [cohens_kappa(ours, one, 5, quadratic=True) for one in (near, far)]
    assert weighted[0] is not None
    assert weighted[1] is not None
    assert weighted[0] > weighted[1]
    assert cohens_kappa(ours, near, 5) == pytest.approx(cohens_kappa(ours, far, 5) or 0, abs=0.05)
    two = ratings([[20, 5], [10, 15]])
    assert cohens_kappa(*two, 2, quadratic=True) == pytest.approx(0.4), "of two categories all weights are equal"


def test_kappa_is_1_for_equal_0_for_independent_and_none_for_nothing_to_agree_on() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(0, 3, 20_000), rng.integers(0, 3, 20_000)
    assert cohens_kappa(ours, ours, 3) == 1
    assert cohens_kappa(ours, theirs, 3) == pytest.approx(0, abs=0.02)
    assert cohens_kappa([1, 1], [1, 1], 2) is None
    assert cohens_kappa([], [], 2) is None


def test_rank_correlation_has_mean_ranks_for_ties() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 1_000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 beside 1, 2, 3, 4.
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert spearman([1, 1], [1, 2]) is None
    assert spearman([1], [1]) is None
