"""The judge of an evaluation: a model that scores answers, and what it is given and gives back, a slice at a time."""

from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.kinds.evaluation.graders import ModelGrader
from schemas.kinds.evaluation.metrics import MetricName
from schemas.models import DEFAULT

NOT_APPLICABLE: Final = "not_applicable"
"""In `Scores.unscored`: the metric says nothing about this answer, so its score is not missing."""

CEILING: Final = "ceiling_reached"
"""The code of what the run's ceiling left undone: questions that were not asked, scores that were not given."""

_STRICT = ConfigDict(extra="forbid", defer_build=True)


class Judge(BaseModel):
    """A chat model of the deployment. `max_tokens`: of one reply.

    `version`: the owner's own name for what stands behind the model now; a new one has everything judged anew.
    """

    model_config = _STRICT

    model: str = Field(DEFAULT, min_length=1, max_length=200)
    max_tokens: int = Field(2_048, ge=1, le=131_072)
    temperature: float | None = Field(0.0, ge=0, le=2)
    version: Annotated[str, StringConstraints(pattern=r"^[\w.:+-]{1,60}$")] | None = None


class Ceiling(BaseModel):
    """What a run may spend on answers and judge together: tokens, or money at the prices of the models file.

    Where it is reached, the run ends with what was done. What is under way then still counts, so a run may end a little
    above it.
    """

    model_config = _STRICT

    tokens: int | None = Field(None, ge=1)
    cost: float | None = Field(None, gt=0, allow_inf_nan=False)


class Slice(BaseModel):
    """Some scored answers: `length` bytes from `start` in a blob of JSON Lines."""

    blob: str
    start: int
    length: int


class Allowance(BaseModel):
    """What the answers left of the ceiling; null: there is none."""

    tokens: int | None = None
    cost: float | None = None

    def is_spent(self, tokens: int, cost: float) -> bool:
        """Whether these use it up."""
        return (self.tokens is not None and tokens >= self.tokens) or (self.cost is not None and cost >= self.cost)


class JudgeInput(BaseModel):
    """A child at the stage `judge`: what the judge is to score in a slice. `run`: the job whose money it spends."""

    judge: Judge
    slice: Slice
    metrics: list[MetricName]
    graders: list[ModelGrader]
    run: UUID
    allowance: Allowance = Allowance()


class SimilarityInput(BaseModel):
    """A child at the stage `similarity`. It asks no judge."""

    judge: None = None
    slice: Slice


class Scores(BaseModel):
    """The scores of one answer by name. Those that could not be had are in `unscored`, with the code of the reason."""

    scores: dict[str, float] = Field(default_factory=dict)
    unscored: dict[str, str] = Field(default_factory=dict)


class SliceResult(BaseModel):
    """What a child found, by `row/variant`. `by`: who scored. `calls`: to the judge; `cached`: answers it had given.

    `messages`: the first message for each code in `unscored`.
    """

    answers: dict[str, Scores]
    by: str
    calls: int = 0
    cached: int = 0
    messages: dict[str, str] = Field(default_factory=dict)
