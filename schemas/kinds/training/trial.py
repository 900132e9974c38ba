"""A trial: a training that a search for hyperparameters made, and that may end early."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.kinds.training import TrainingInput

Pruner = Literal["median", "hyperband"]
"""`median`: worse at an evaluation than half of the trials that are complete. `hyperband`: successive halving."""

EVALUATIONS: Final = 10
"""Of one run, where `evaluate_every` is `auto`."""


class Trial(BaseModel):
    """Its place in the search, which is a job. `until`: later than this it does not begin."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    search: UUID
    number: Annotated[int, Field(ge=0)]
    pruner: Pruner | None
    until: datetime | None


class TrialInput(TrainingInput):
    """A training that is a trial. Clients cannot submit it."""

    trial: Trial


class Pruned(BaseModel):
    """The result of a trial that was stopped because others did better. `evaluation` counts from 1."""

    pruned: Literal[True] = True
    evaluation: int
    step: int
    validation_loss: float


class Skipped(BaseModel):
    """The result of a trial that did not begin: the search's time was over."""

    skipped: Literal[True] = True
