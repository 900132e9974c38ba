"""How owners steer a job while it or its children run."""

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.names import Composed, printable

Reason = Annotated[str, Composed, StringConstraints(max_length=512), AfterValidator(printable)]
Weight = Annotated[int, Field(ge=1, le=100, description="The share of the tenant's turns, beside its other parents.")]
Deadline = Annotated[
    AwareDatetime,
    Field(
        strict=False,
        ge=datetime(2000, 1, 1, tzinfo=UTC),
        lt=datetime(2100, 1, 1, tzinfo=UTC),
        description="From ten minutes before, its children go before those of the tenant's others.",
    ),
]
AtOnce = Annotated[
    int, Field(ge=1, le=100_000, description="Children that are summoned or run at the same time, at most; null: any.")
]


class Why(BaseModel):
    """Why it is done; the job's event says so."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Reason | None = None


class Steering(Why):
    """What to change, at least one thing; what is left out stays."""

    weight: Weight = 1
    at_once: AtOnce | None = None
    deadline: Deadline | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.model_fields_set <= {"reason"}:
            raise ValueError("nothing to change: give weight, at_once or deadline")
        return self


class SteeringView(BaseModel):
    """How a job is paused, and how its children in the lane `bulk` are taken up. `paused_at`: since when no more of
    them are, and since when a training leaves its worker.
    """

    paused_at: datetime | None
    weight: Weight
    at_once: AtOnce | None
    deadline: datetime | None
