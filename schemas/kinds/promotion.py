"""`promotion`: a candidate is evaluated beside the champion of an alias, and takes its place if it is not worse."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.aliases import AliasName, Reason, WantedModel
from schemas.kinds.evaluation import EvaluationInput, Gate, ModelVariant, RetrievalVariant, Variant
from schemas.kinds.evaluation.graders import Grader
from schemas.kinds.evaluation.items import MAX_INLINE_ITEMS, Dataset, InlineItem
from schemas.kinds.evaluation.judge import Judge
from schemas.kinds.evaluation.metrics import MetricName
from schemas.kinds.inference import Generate
from schemas.names import CollectionName
from schemas.promotions import Evidence

CHAMPION = "champion"
CANDIDATE = "candidate"


class PromotionTerms(BaseModel):
    """What it takes to take over `alias`: the questions that decide, a `dataset` or `items`, and how they are asked.

    `way`: how both answer, as a variant whose `model` is replaced; by default from `collection`, else the model alone.
    `metrics`: each must not be worse by more than `by`. `judge`: as of an evaluation.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    alias: AliasName
    dataset: Dataset | None = None
    items: list[InlineItem] | None = Field(None, min_length=1, max_length=MAX_INLINE_ITEMS)
    collection: CollectionName | None = None
    way: Variant | None = None
    metrics: list[MetricName] = Field(default_factory=lambda: ["f1"], min_length=1, max_length=40)
    graders: list[Grader] = Field(default_factory=list, max_length=20)
    judge: Judge | None = None
    by: float = Field(0.05, ge=0, le=1, description="How much worse the lower end of the interval may be.")
    reason: Reason | None = None

    @field_validator("way", mode="before")
    @classmethod
    def _needs_no_name(cls, given: Any) -> Any:
        return {"name": CANDIDATE, **given} if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _can_be_evaluated(self) -> Self:
        try:
            self.evaluation(CHAMPION, CANDIDATE)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        return self

    @property
    def questions(self) -> Dataset | None:
        """The table of questions that decides; None: `items` do."""
        return self.dataset

    @property
    def package_groups(self) -> frozenset[str]:
        """Optional groups that the workers of its judge need."""
        return self.evaluation(CHAMPION, CANDIDATE).package_groups

    def evaluation(self, champion: str | None, candidate: str) -> EvaluationInput:
        """The evaluation that decides between models of these names; of the candidate alone, without a champion."""
        models = {CHAMPION: champion, CANDIDATE: candidate}
        names = [*self.metrics, *(one.name for one in self.graders)]
        compared = [Gate(metric=name, variant=CANDIDATE, not_worse_than=CHAMPION, by=self.by) for name in names]
        return EvaluationInput(
            dataset=self.questions,
            items=self.items,
            collection=self.collection,
            variants=[self._way(name, model) for name, model in models.items() if model is not None],
            metrics=self.metrics,
            graders=self.graders,
            judge=self.judge,
            gates=[] if champion is None else compared,
            title=f"{self.alias}: {candidate}",
        )

    def _way(self, name: str, model: str) -> RetrievalVariant | ModelVariant:
        way = self.way
        if way is None:
            alone = ModelVariant(kind="generation", name=name, model=model, temperature=0)
            return alone if self.collection is None else RetrievalVariant(name=name, generate=_generate(None, model))
        if isinstance(way, ModelVariant):
            return way.model_copy(update={"name": name, "model": model})
        if way.generate is None:
            raise ValueError("way: it only retrieves, and no model takes part")
        return way.model_copy(update={"name": name, "generate": _generate(way.generate, model)})


class PromotionInput(PromotionTerms):
    """Which `model` is to take over the alias."""

    model: WantedModel


class PromotionResult(BaseModel):
    """`promoted`: whether `alias` now points to `model`. `previous`: the champion before. `evidence`: the figures."""

    alias: str
    model: str
    previous: str | None
    promoted: bool
    evidence: Evidence


class Gated(BaseModel):
    """From `gate` to `promote`: the two models, by their full names."""

    champion: str | None
    candidate: str


def _generate(given: Generate | None, model: str) -> Generate:
    return Generate(model=model) if given is None else given.model_copy(update={"model": model})
