"""`search`: trainings with different hyperparameters, to find the best ones."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.adapters import AdapterName
from schemas.kinds.training import Auto, Hyperparameters, Recipe, check_servable
from schemas.kinds.training.trial import Pruner

Searched = Literal[
    "learning_rate",
    "epochs",
    "max_steps",
    "scheduler",
    "warmup_share",
    "weight_decay",
    "batch_size",
    "rank",
    "alpha",
    "dropout",
]
"""What a search may vary. Left out are `seed`, `max_length`, `beta` and `completion_only`: with another value, a
held-out loss is of other examples, other tokens, or another scale, and losses could not be compared.
"""

WHOLE: Final = frozenset({"max_steps", "batch_size", "rank", "alpha"})
"""Of these, the whole numbers."""

Objective = Literal["validation_loss", "train_loss", "tokens_per_s", "seconds", "peak_memory_bytes"]
MAXIMISED: Final = frozenset({"tokens_per_s"})
"""The objectives of which more is better; of the others less is."""

MAX_TRIALS: Final = 500


class Range(BaseModel):
    """Numbers from `low` to `high`, both included; `log`: small ones as often as large ones. `step`: from `low` on."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    low: float
    high: float
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _goes_upwards(self) -> Self:
        if self.low >= self.high:
            raise ValueError("`low` must be less than `high`")
        if self.log and self.step is not None:
            raise ValueError("give `log` or `step`, not both")
        if self.log and self.low <= 0:
            raise ValueError("with `log`, `low` must be above 0")
        return self


Value = bool | int | float | str


class Choices(BaseModel):
    """Some values, none before another."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    choices: Annotated[list[Value], Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(map(repr, self.choices))) < len(self.choices):
            raise ValueError("`choices` names a value twice")
        return self


class SearchInput(Recipe):
    """A recipe, and what to vary in it. `objectives`: what to look for; of several, the trials that none is better than
    in all. `at_once`: trials that run at the same time. `budget_s`: no trial begins later than this after the search.
    """

    space: Annotated[dict[Searched, Range | Choices], Field(min_length=1)]
    objectives: list[Objective] = Field(["validation_loss"], min_length=1, max_length=3)
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    pruner: Auto | Literal["none"] | Pruner = Field(
        "auto", description="`auto`: `median` where the validation loss is the only objective, else none."
    )
    trials: int = Field(20, ge=1, le=MAX_TRIALS)
    at_once: int = Field(2, ge=1, le=64)
    budget_s: float | None = Field(None, gt=0, le=30 * 86_400)
    seed: int = Field(0, ge=0, lt=2**31, description="Of what is tried. That of each training is a hyperparameter.")
    register_as: AdapterName | None = Field(None, description="Serve the best trial's adapter as `base:name`.")

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        for name, values in self.space.items():
            if self.sampler == "grid" and isinstance(values, Range):
                raise ValueError(f"a grid is made of `choices`: give those of {name}")
            for value in values.choices if isinstance(values, Choices) else _some(name, values):
                check_value(name, value)
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("`objectives` names one twice")
        if "validation_loss" in self.objectives and self.validation is None and not self.validation_share:
            raise ValueError("nothing is held out, so there is no validation loss: give `validation_share`")
        if self.pruner in ("median", "hyperband") and self.objectives != ["validation_loss"]:
            raise ValueError(f"the pruner {self.pruner!r} needs `validation_loss` as the only objective")
        if self.register_as is not None and len(self.objectives) > 1:
            raise ValueError("of several objectives there is no best trial to register: leave out `register_as`")
        check_servable(self.adapter, self.register_as)
        return self

    @property
    def judged_by(self) -> Pruner | None:
        """The pruner that `auto` comes to."""
        if self.pruner == "none":
            return None
        if self.pruner == "auto":
            return "median" if self.objectives == ["validation_loss"] else None
        return self.pruner

    @property
    def most(self) -> int:
        """Trials that there can be: those that were asked for, or fewer where a grid has fewer."""
        if self.sampler != "grid":
            return self.trials
        size = 1
        for values in self.space.values():
            assert isinstance(values, Choices)
            size *= len(values.choices)
        return min(self.trials, size)

    def varied(self, params: Mapping[str, Any]) -> Hyperparameters:
        """The hyperparameters of one trial."""
        return Hyperparameters.model_validate({**self.hyperparameters.model_dump(), **params})


def check_value(name: str, value: Any) -> None:
    """Raise `ValueError` for a value that is none of this hyperparameter."""
    try:
        Hyperparameters.model_validate({name: value})
    except ValidationError as error:
        why = str(error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"])
        raise ValueError(f"{value!r} cannot be the {name}: {why}") from error


def _some(name: str, values: Range) -> list[float]:
    """The ends of a range. Raises `ValueError` for a hyperparameter that has no numbers in between."""
    if name == "scheduler":
        raise ValueError("the scheduler is no number: give `choices`")
    if name in WHOLE:
        if not all(one is None or float(one).is_integer() for one in (values.low, values.high, values.step)):
            raise ValueError(f"the {name} is a whole number: so are `low`, `high` and `step`")
        return [int(values.low), int(values.high)]
    return [values.low, values.high]


State = Literal["complete", "pruned", "failed", "cancelled", "skipped"]
"""How a trial ended. `skipped`: the search's time was over before it began. `cancelled`: by its owner."""


class TrialView(BaseModel):
    """One trial. `job`: its training. `values`: of the objectives, in their order; null if it is not complete.

    `adapter`: its file; null for all but the best ones, whose files are kept. `error`: the code it failed with.
    """

    number: int
    job: str
    state: State
    params: dict[str, Any]
    values: list[float] | None
    adapter: str | None = None
    steps: int | None = None
    seconds: float | None = None
    error: str | None = None


class SearchResult(BaseModel):
    """`best`: numbers of the best trial, or of those that no other is better than in all objectives. `importance`: of
    each objective, how much of its differences each hyperparameter explains, adding up to 1; empty where too few trials
    are complete. `report`: a page. `model`: what requests may name, if `register_as` was given.
    """

    trials: list[TrialView]
    best: list[int]
    importance: dict[str, dict[str, float]]
    model: str | None
    registered: bool
    report: str
    seconds: float
    warnings: list[str]
