"""What the stages of `evaluation` hand on to each other."""

from pydantic import BaseModel

from schemas.kinds.evaluation.metrics import MetricName


class Planned(BaseModel):
    """To `score`: where the items lie, one JSON object a line, how many, and what to compute.

    `metrics[variant]`: the metrics that apply to each variant, in their order.
    """

    items: str
    count: int
    unanswerable: int
    metrics: dict[str, list[MetricName]]


class Source(BaseModel):
    """An items file to report on. With a `name`, one `variant` of it (null: its first) under that name; else all."""

    file: str
    variant: str | None = None
    name: str | None = None


class Scored(BaseModel):
    """To `report`: the items files. `planned`: this run's own plan, which the first file follows; null: old runs."""

    sources: list[Source]
    planned: Planned | None = None
