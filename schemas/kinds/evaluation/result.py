"""What an evaluation found out: figures of each variant, comparisons, gates, and the files that hold the rest."""

from typing import Literal

from pydantic import BaseModel, Field

from schemas.tracking import Tracking


class Figures(BaseModel):
    """A metric over the items it applies to: `n` have a score, `missing` have none because their answer failed.

    `mean` and its 95 % interval are over the scores; `strict` counts missing ones as 0. `by`: the model that gave the
    scores, as `name@version`; null: no model did.
    """

    mean: float
    ci95: list[float]
    strict: float
    n: int
    missing: int
    by: str | None = None


class Latency(BaseModel):
    """Milliseconds from the first stage to the answer, without the time in queues."""

    mean: float
    p50: float
    p95: float


class VariantResult(BaseModel):
    """One variant. `failed` answers include cancelled ones. `tokens`: of prompts and completions."""

    name: str
    succeeded: int
    failed: int
    metrics: dict[str, Figures]
    latency_ms: Latency | None = None
    tokens: int = 0


class Compared(BaseModel):
    """The gain of a variant over the baseline on the same items, with p-values before and after Holm's correction.

    `detectable`: the smallest true gain that a run like this shows in four of five cases.
    """

    gain: float
    ci95: list[float]
    p: float
    p_adjusted: float
    significant: bool
    test: Literal["bootstrap", "mcnemar"]
    n: int
    detectable: float


class Comparison(BaseModel):
    """A variant beside the baseline."""

    variant: str
    baseline: str
    metrics: dict[str, Compared]


class GateResult(BaseModel):
    """Whether a gate is passed. `value`: the mean, or the lower end of the difference's interval; `limit`: its least.

    Both null when nothing could be measured; the gate is not passed then.
    """

    metric: str
    variant: str
    against: str | None = None
    value: float | None
    limit: float
    passed: bool


class ItemCounts(BaseModel):
    """Items of the dataset; `answers` is items times variants.

    `reused`: answers of earlier evaluations. `asked_again`: how often a question was asked again because it failed.
    `not_asked`: of the failed ones, those that the ceiling left no room for.
    """

    total: int
    unanswerable: int
    answers: int
    succeeded: int
    failed: int
    reused: int = 0
    asked_again: int = 0
    not_asked: int = 0


class Judged(BaseModel):
    """What the judge did. `calls`: made by this run; `cached`: replies that were there already, those to a try of this
    run that was killed included. `tokens` and `cost`: what the run paid for, killed tries included.

    `cost` is null for a model without a price. `unscored`: how many scores could not be had, by the code of the reason;
    `messages`: what was said with each. `stopped`: the ceiling was reached. `judges_itself`: variants that the judge's
    own model answered.
    """

    judge: str | None
    calls: int = 0
    cached: int = 0
    tokens: int = 0
    cost: float | None = None
    unscored: dict[str, int] = Field(default_factory=dict)
    messages: dict[str, str] = Field(default_factory=dict)
    stopped: bool = False
    judges_itself: list[str] = Field(default_factory=list)


class EvaluationResult(BaseModel):
    """The figures. Files of the purpose `evaluation`: `report` (HTML), `figures` (JSON with breakdowns and the worst
    items), `items_file` (JSON Lines, an answer a line) and `items_parquet`.

    `passed`: whether all gates are; null without gates. `stopped`: `ceiling_reached` if the ceiling ended the run
    before all was asked and judged, else null. `tracking`: null where the deployment has no tracker.
    """

    items: ItemCounts
    variants: list[VariantResult]
    comparisons: list[Comparison]
    gates: list[GateResult]
    passed: bool | None
    judged: Judged | None = None
    stopped: str | None = None
    warnings: list[str] = Field(default_factory=list)
    report: str
    figures: str
    items_file: str | None
    items_parquet: str | None
    tracking: Tracking | None = None
