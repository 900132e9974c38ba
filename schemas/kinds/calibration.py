"""`calibration`: how well a judge agrees with people, on answers that people have judged."""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.kinds.evaluation.graders import LabelModel, ModelGrader
from schemas.kinds.evaluation.judge import Judge
from schemas.kinds.evaluation.metrics import MetricName, Needs, metric
from schemas.kinds.inference import Question

MAX_ITEMS: Final = 1_000

_STRICT = ConfigDict(extra="forbid", defer_build=True)
_Text = Annotated[str, StringConstraints(max_length=20_000)]


class JudgedItem(BaseModel):
    """An answer that people have judged. `human`: true or false, a score in 0..1, or one of a label grader's labels."""

    model_config = _STRICT

    id: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    question: Question
    answer: _Text
    reference: _Text | None = None
    contexts: list[_Text] = Field(default_factory=list, max_length=100)
    human: bool | Annotated[float, Field(ge=0, le=1)] | Annotated[str, StringConstraints(min_length=1, max_length=200)]


class CalibrationInput(BaseModel):
    """What the judge is to score as people did: a `grader`, or a `metric` of RAGAS.

    A score passes from `threshold` on.
    """

    model_config = _STRICT

    judge: Judge = Field(default_factory=Judge)
    items: list[JudgedItem] = Field(min_length=1, max_length=MAX_ITEMS)
    grader: ModelGrader | None = None
    metric: MetricName | None = None
    threshold: float = Field(0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.grader is None) == (self.metric is None):
            raise ValueError("give either a `grader` or a `metric`")
        if self.metric is not None and not metric(self.metric).ragas:
            raise ValueError(f"no judge is asked for the metric {self.metric!r}")
        if self.grader is not None and self.grader.model not in (None, self.judge.model):
            raise ValueError(f"the grader names the model {self.grader.model!r}, the judge is {self.judge.model!r}")
        if self.metric is not None and metric(self.metric).needs is Needs.REFERENCE:
            lacking = next((n for n, item in enumerate(self.items, start=1) if not item.reference), None)
            if lacking is not None:
                raise ValueError(f"item {lacking} has no `reference`, which the metric {self.metric!r} needs")
        labels = self.grader.labels if isinstance(self.grader, LabelModel) else []
        for n, item in enumerate(self.items, start=1):
            if isinstance(item.human, str) and item.human not in labels:
                known = f"one of {', '.join(labels)}" if labels else "true, false or a number from 0 to 1"
                raise ValueError(f"item {n}: `human` is {item.human!r}; it must be {known}")
        return self

    @property
    def package_groups(self) -> frozenset[str]:
        """Optional groups that the workers of its judge need."""
        return frozenset({"eval"} if self.metric is not None else ())

    def human_score(self, item: JudgedItem) -> float:
        """What people said, in 0..1."""
        if isinstance(item.human, str):
            assert isinstance(self.grader, LabelModel)  # checked above
            return float(item.human in self.grader.passing_labels)
        return float(item.human)


class Confusion(BaseModel):
    """How many answers people and judge let pass."""

    both: int
    judge_only: int
    human_only: int
    neither: int


class Disagreement(BaseModel):
    """An answer on which they differ."""

    id: str
    human: float
    judge: float


class CalibrationResult(BaseModel):
    """How far a judge agrees with people.

    `kappa`: Cohen's, of passing or not; `weighted_kappa`: with quadratic weights, of scores in five equal parts. Both
    null where one side says the same of all. `bias`: the mean of judge minus human, with its 95 % interval; above 0 the
    judge is milder. `verbosity`: Spearman's correlation of the length of an answer with judge minus human; above 0 the
    judge favours long ones. `position`: the share of verdicts that change when the labels are listed the other way
    round; null for scores. `disagreements`: the largest first.
    """

    judge: str
    items: int
    missing: int
    unscored: dict[str, int] = Field(default_factory=dict)
    messages: dict[str, str] = Field(default_factory=dict)
    agreement: float | None
    kappa: float | None
    weighted_kappa: float | None
    confusion: Confusion
    bias: float | None
    bias_ci95: list[float] | None
    verbosity: float | None
    position: float | None
    disagreements: list[Disagreement]
    calls: int
    cached: int
    tokens: int


class CalibrationPlanned(BaseModel):
    """To `report`: where the answers lie as lines."""

    lines: str
