"""How far two raters agree beyond chance, and what a difference between them goes along with."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def cohens_kappa(ours: ArrayLike, theirs: ArrayLike, categories: int, *, quadratic: bool = False) -> float | None:
    """Cohen's kappa of two ratings of the same things, as categories from 0 to `categories` - 1.

    Cohen (1960), "A coefficient of agreement for nominal scales"; with `quadratic` weights for ordered categories,
    Cohen (1968). None where chance alone already agrees on everything, or there is nothing rated.
    """
    a, b = np.asarray(ours, dtype=np.intp), np.asarray(theirs, dtype=np.intp)
    if not len(a):
        return None
    observed = np.zeros((categories, categories))
    np.add.at(observed, (a, b), 1 / len(a))
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0))
    apart = np.subtract.outer(np.arange(categories), np.arange(categories))
    weights = apart**2 if quadratic else (apart != 0)
    by_chance = float((weights * expected).sum())
    return None if by_chance == 0 else 1 - float((weights * observed).sum()) / by_chance


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Spearman's rank correlation, ties having their mean rank; None where one side does not vary."""
    ranks = [_ranks(np.asarray(one, dtype=np.float64)) for one in (x, y)]
    if len(ranks[0]) < 2 or any(one.std() == 0 for one in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks
