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
    [interval] = mean_intervals(sample[:, np.newaxis], resamples=resamples, seed=seed)
    return interval


def mean_intervals(
    values: ArrayLike, *, clusters: ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> list[Estimate]:
    """The mean and interval of each column of `values[question, measure]`, from the same resamples.

    NaN is a missing value; the mean is over those present. `clusters`: a number or name for each question; questions of
    one cluster, as those about one document, are drawn together (Davison and Hinkley 1997, section 3.8). Raises
    `ValueError` when a column has no value.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or np.isnan(table).all(axis=0).any():
        raise ValueError("need one row for each question, and a value at least in each column")
    drawn = resampled_means(table, clusters=clusters, resamples=resamples, seed=seed)
    return [estimate(float(np.nanmean(table[:, at])), drawn[:, at]) for at in range(table.shape[1])]


def difference(ours: ArrayLike, theirs: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean gain of `ours` over `theirs`, question by question: paired, since both answered the same ones."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a paired difference needs the same questions: {a.shape} against {b.shape}")
    return mean_interval(a - b, resamples=resamples, seed=seed)


def estimate(mean: float, drawn: NDArray[np.float64]) -> Estimate:
    """A mean with the percentile interval of its resampled means. Resamples without any value are left out."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high))


def resampled_means(
    table: NDArray[np.float64], *, clusters: ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """The means of each column in each resample, `means[resample, column]`; NaN where a resample has no value."""
    there = ~np.isnan(table)
    sums, counts = np.where(there, table, 0.0), there.astype(np.float64)
    if clusters is not None:
        cluster = np.unique(np.asarray(clusters), return_inverse=True)[1]
        sums, counts = _added(sums, cluster), _added(counts, cluster)
    random = np.random.default_rng(seed)
    drawn = len(sums)
    rows = max(1, _DRAWS_AT_ONCE // drawn)
    means = np.empty((resamples, table.shape[1]))
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        picked = random.integers(drawn, size=(count, drawn)) + drawn * np.arange(count)[:, np.newaxis]
        # How often each one was drawn, as a matrix, so that all columns cost one product.
        times = np.bincount(picked.ravel(), minlength=count * drawn).reshape(count, drawn).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means[first : first + count] = (times @ sums) / (times @ counts)
    return means


def _added(values: NDArray[np.float64], cluster: NDArray[np.intp]) -> NDArray[np.float64]:
    added = np.zeros((int(cluster.max()) + 1, values.shape[1]))
    np.add.at(added, cluster, values)
    return added
