"""A canary beside the champion: the tests are those of the textbooks, and looking again does not make them lie."""

import random

import pytest

from producers.arms import ALPHA, Ended, compare, due, fisher, mann_whitney


def jobs(count: int, failed: int = 0, seconds: float = 1.0) -> list[Ended]:
    return [(n < failed, seconds + n / 1_000) for n in range(count)]


def test_fishers_tea() -> None:
    assert fisher(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert fisher(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert fisher(0, 4, 3, 4) == pytest.approx(1)
    assert fisher(2, 4, 0, 0) == pytest.approx(1), "nothing to compare with"


def test_mann_and_whitneys_ranks() -> None:
    # U = 25 of 25: z = (25 - 12.5 - 0.5) / sqrt(25 / 12 * 11)
    assert mann_whitney([6, 7, 8, 9, 10], [1, 2, 3, 4, 5]) == pytest.approx(0.00609, abs=1e-5)
    assert mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) > 0.99
    assert mann_whitney([1.0] * 9, [1.0] * 9) == 1
    assert mann_whitney([], [1.0]) == 1
    with_ties = mann_whitney([1, 2, 2, 3, 9, 9], [1, 1, 2, 2, 3, 3])
    assert 0.1 < with_ties < 0.3


def test_a_canary_that_fails_is_worse_and_one_that_fails_as_often_is_not() -> None:
    worse = compare(jobs(20, 6), jobs(80, 1), look=1)
    assert worse.worse == "6 of 20 jobs failed, beside 1 of 80"
    assert worse.p_failed < worse.level < ALPHA
    assert compare(jobs(20, 1), jobs(80, 4), look=1).worse is None
    assert compare(jobs(20, 0), jobs(80, 40), look=1).worse is None, "better is not worse"


def test_a_canary_that_is_much_slower_is_worse_and_a_little_slower_is_not() -> None:
    assert compare(jobs(20, seconds=2.0), jobs(80), look=1).worse == "half of the jobs took over 2.01 s, beside 1.04 s"
    certain = compare(jobs(2_000, seconds=4.0), jobs(2_000, seconds=3.5), look=12)
    assert (certain.p_slower < certain.level, certain.worse) == (True, None)


def test_jobs_that_no_worker_took_have_no_duration() -> None:
    found = compare([(True, None)] * 20, jobs(30), look=1)
    assert (found.canary.median_s, found.canary.failed) == (None, 20)
    assert found.worse is not None


def test_looks_come_after_half_as_many_more_jobs() -> None:
    assert [due(looks) for looks in range(5)] == [20, 30, 45, 68, 102]


def test_a_canary_that_is_as_good_is_seldom_rolled_back_however_often_it_is_looked_at() -> None:
    dice = random.Random(11)

    def rolled_back() -> bool:
        ours = [(dice.random() < 0.1, dice.expovariate(1)) for _ in range(due(7))]
        theirs = [(dice.random() < 0.1, dice.expovariate(1)) for _ in range(2 * due(7))]
        return any(
            compare(ours[: due(looks)], theirs[: 2 * due(looks)], look=looks + 1).worse is not None
            for looks in range(8)
        )

    trials = 300
    assert sum(rolled_back() for _ in range(trials)) <= trials * ALPHA
