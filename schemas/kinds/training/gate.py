"""The gate of a training: which alias the new adapter takes over, if it is not worse than what the alias points to."""

from typing import Any, Final

from pydantic import BaseModel

from schemas.kinds.evaluation.items import Dataset
from schemas.kinds.promotion import PromotionInput, PromotionTerms
from schemas.promotions import Evidence

_NO_FILE: Final = f"file_{'0' * 32}"
"""Stands for a file that the job is yet to write."""


class TrainingGate(PromotionTerms):
    """As the input of a `promotion`. Without `dataset` and `items` the held-out examples of the training decide."""

    @property
    def asks_held_out(self) -> bool:
        """Whether the held-out examples are the questions."""
        return self.dataset is None and self.items is None

    @property
    def questions(self) -> Dataset | None:
        """As of a promotion, whose file of held-out examples is not there yet."""
        return Dataset(file=_NO_FILE) if self.asks_held_out else self.dataset

    def promotion(self, model: str, held_out: str | None) -> PromotionInput:
        """The promotion of `model`. `held_out`: the file of held-out questions, if these are asked."""
        asked: dict[str, Any] = {**self.model_dump(exclude_unset=True), "model": model}
        if self.asks_held_out:
            asked["dataset"] = {"file": held_out}
        return PromotionInput.model_validate(asked)


class GateOutcome(BaseModel):
    """Whether `alias` now points to the new `model`, by the promotion `job`. `previous`: the champion that it met.

    `why`: the figures in words, if it was refused.
    """

    job: str
    alias: str
    model: str
    previous: str | None
    promoted: bool
    why: str | None
    evidence: Evidence
