"""How certain a mean over questions is: percentile bootstrap intervals, also for the difference of two systems.

Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13; for comparing two systems on the same
questions, Sakai (2006), "Evaluating evaluation metrics based on the bootstrap".
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES: Final = 10_000
CONFIDENCE: Final = 0.95
_DRAWS_AT_ONCE: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and the interval that covers the true one in 95 of 100 such samples."""

    mean: float
    low: float
    high: float

    @property
    def ci95(self) -> list[float]:
        """`[low, high]`, to four decimal places."""
        return [round(self.low, 4), round(self.high, 4)]

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is above 0, so that the gain is statistically significant."""
        return self.low > 0


def mean_interval(values: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of one value per question, with its 95 % interval. The same seed gives the same interval.

    Raises `ValueError` when there are no values.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError("need one value for each question, and a question at least")
    means = _resampled_means(sample, resamples, seed)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(sample.mean()), float(low), float(high))


def difference(ours: ArrayLike, theirs: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean gain of `ours` over `theirs`, question by question: paired, since both answered the same ones."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a paired difference needs the same questions: {a.shape} against {b.shape}")
    return mean_interval(a - b, resamples=resamples, seed=seed)


def _resampled_means(sample: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    rows = max(1, _DRAWS_AT_ONCE // len(sample))
    means = np.empty(resamples)
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        means[first : first + count] = sample[random.integers(len(sample), size=(count, len(sample)))].mean(axis=1)
    return means
