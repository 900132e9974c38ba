"""Which settings to recommend: chosen on some questions, judged on others, and only for a significant gain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.bootstrap import Estimate, difference

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the questions say.

    `best` is the candidate with the highest mean over all questions, `chosen` the one of each fold, `chosen_for` the
    one that was chosen without each question: its values are the honest ones, `gain` is theirs over those of `base`.
    """

    base: int
    best: int
    chosen: Sequence[int]
    chosen_for: NDArray[np.intp]
    gain: Estimate

    @property
    def recommended(self) -> int:
        """`best` when the gain of choosing is statistically significant, else `base`."""
        return self.best if self.gain.above_zero else self.base


def choose(values: Matrix, *, base: int, folds: int, seed: int = 0) -> Choice:
    """Cross-validation (Hastie, Tibshirani and Friedman 2009, section 7.10) over `values[candidate, question]`.

    What is judged is the choosing itself: each fold's questions are answered with what suited the other folds' best.
    Of equally good candidates the first one counts. Raises `ValueError` for fewer questions than folds, or one fold.
    """
    questions = values.shape[1]
    if not 2 <= folds <= questions:
        raise ValueError(f"{folds} folds need as many questions, and two at least; there are {questions}")
    fold = np.random.default_rng(seed).permutation(questions) % folds
    chosen = [int(values[:, fold != number].mean(axis=1).argmax()) for number in range(folds)]
    chosen_for = np.array(chosen, dtype=np.intp)[fold]
    best = int(values.mean(axis=1).argmax())
    gain = difference(held_out(values, chosen_for), values[base], seed=seed)
    return Choice(base, best, chosen, chosen_for, gain)


def held_out(values: Matrix, chosen_for: NDArray[np.intp]) -> NDArray[np.float64]:
    """Each question's value under the candidate that was chosen without it."""
    return values[chosen_for, np.arange(values.shape[1])]
