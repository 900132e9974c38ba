"""What the stages of `evaluation` hand on to each other."""

from pydantic import BaseModel, Field

from schemas.kinds.evaluation.metrics import MetricName
from schemas.kinds.evaluation.result import Judged


class Waves(BaseModel):
    """How far a run with a ceiling has come. `number`: of fan-outs that asked something new; `row`: of the last item
    that was asked about; `rest`: whether there are more.

    `asked`: questions up to now. `tokens`, `cost`: of the answers before the last fan-out.
    """

    number: int
    row: int
    rest: bool
    asked: int
    tokens: int = 0
    cost: float = 0.0


class Planned(BaseModel):
    """To `score`: where the items lie, one JSON object a line, how many, and what to compute.

    `sha256`: of the items as they lie there. `metrics[variant]`: the metrics that apply to each variant, in their
    order. `ways`: a digest of each variant whose answers may be reused. `reused`: where answers lie that were not asked
    for, one JSON object a line; `reused_count` of them. `rounds`: how many fan-outs asked questions. `asked_again`: how
    often one of them was asked again. `waves`: null without a ceiling: all questions are asked at once.
    """

    items: str
    count: int
    unanswerable: int
    metrics: dict[str, list[MetricName]]
    ways: dict[str, str] = Field(default_factory=dict)
    reused: str | None = None
    reused_count: int = 0
    rounds: int = 1
    sha256: str = ""
    asked_again: int = 0
    waves: Waves | None = None


class ToCollect(BaseModel):
    """To `collect`: the answers as they are scored so far, which the slices of the fan-out are parts of."""

    lines: str
    planned: Planned


class Source(BaseModel):
    """An items file to report on. With a `name`, one `variant` of it (null: its first) under that name; else all."""

    file: str
    variant: str | None = None
    name: str | None = None


class Scored(BaseModel):
    """To `report`: the items files. `planned`: this run's own plan, which the first file follows; null: old runs.

    `judged`: what models did to score them. `scratch`: a blob that nobody needs any more.
    """

    sources: list[Source]
    planned: Planned | None = None
    judged: Judged | None = None
    scratch: str | None = None
