"""Two systems on the same questions: how large the difference is, whether chance explains it, what could be seen.

Paired bootstrap: Efron and Tibshirani (1993), chapters 13 and 16; for systems of retrieval, Sakai (2006). McNemar's
test: McNemar (1947), exact. Several metrics: Holm (1979). The smallest difference: Card et al. (2020), "With Little
Power Comes Great Responsibility".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consumers.ranking.bootstrap import RESAMPLES, Estimate, estimate, resampled_means

ALPHA: Final = 0.05
POWER: Final = 0.8

Test = Literal["bootstrap", "mcnemar"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The gain of one system over another on the questions that both have a score for.

    `p`: how likely such a gain, either way, would be if there were no difference; `p_adjusted`: the same after Holm's
    correction over all metrics compared. `detectable`: the smallest true gain that a run like this one shows in four of
    five cases (power 0.8, two-sided 5 %).
    """

    metric: str
    n: int
    gain: Estimate
    test: Test
    p: float
    p_adjusted: float
    detectable: float

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 5 %."""
        return self.p_adjusted < ALPHA


def compare(
    metrics: Sequence[str],
    ours: ArrayLike,
    theirs: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """The gains of `ours[question, metric]` over `theirs`; NaN is a missing score, and such pairs are left out.

    A metric without a pair is left out as well. 0/1 metrics get McNemar's exact test, unless questions come in
    clusters, which it cannot know; all others get the paired bootstrap. Raises `ValueError` for other shapes.
    """
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(metrics):
        raise ValueError(f"a paired comparison needs the same questions and metrics: {a.shape} against {b.shape}")
    differences = a - b
    kept = np.flatnonzero(~np.isnan(differences).all(axis=0))
    if not len(kept):
        return []
    differences = differences[:, kept]
    drawn = resampled_means(differences, clusters=clusters, resamples=resamples, seed=seed)
    found: list[Comparison] = []
    for at, column in enumerate(kept.tolist()):
        pairs = differences[:, at][~np.isnan(differences[:, at])]
        gain = estimate(float(pairs.mean()), drawn[:, at])
        binary = clusters is None and _binary(a[:, column]) and _binary(b[:, column])
        test: Test = "mcnemar" if binary else "bootstrap"
        p = mcnemar(int((pairs > 0).sum()), int((pairs < 0).sum())) if binary else _chance(gain.mean, drawn[:, at])
        detectable = smallest_detectable(float(np.nanstd(drawn[:, at])))
        found.append(Comparison(metrics[column], len(pairs), gain, test, p, p, detectable))
    adjusted = holm([one.p for one in found])
    return [
        Comparison(one.metric, one.n, one.gain, one.test, one.p, corrected, one.detectable)
        for one, corrected in zip(found, adjusted, strict=True)
    ]


def mcnemar(wins: int, losses: int) -> float:
    """The exact two-sided p-value of McNemar's test, from how many questions only one of the two got right."""
    pairs, fewer = wins + losses, min(wins, losses)
    ways, tail = 1, 0
    for number in range(fewer + 1):
        tail += ways
        ways = ways * (pairs - number) // (number + 1)
    chance: float = 2 * tail / 2**pairs
    return min(1.0, chance)


def holm(p: Sequence[float]) -> list[float]:
    """Each p-value corrected for having tested all of them: the chance of one false finding stays below alpha."""
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(p)), key=lambda one: p[one])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[at]))
        adjusted[at] = highest
    return adjusted


def smallest_detectable(error: float) -> float:
    """The smallest true difference that a test at 5 % shows with power 0.8, for a mean of this standard error."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(POWER)) * error


def _binary(values: NDArray[np.float64]) -> bool:
    return bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


def _chance(mean: float, drawn: NDArray[np.float64]) -> float:
    """How often resampling from a world without a difference moves the mean as far as it is (Sakai 2006).

    The rounding of sums must not decide ties, so equal within a billionth is equal.
    """
    moved = np.abs(drawn - mean) >= abs(mean) - 1e-9
    return (int(moved.sum()) + 1) / (len(drawn) + 1)
