"""Aliases: a tenant's own names for models. Requests name the alias, and owners move it from one model to the next."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.adapters import named_adapter
from schemas.models import MODEL_NAME
from schemas.names import no_control_characters

MOST: Final = 100
"""Aliases that one tenant may have."""

LARGEST_SHARE: Final = 0.5
"""Of a canary. The champion keeps at least as many jobs, or there would be nothing to compare with."""

EVENTS: Final = ("model.promoted", "model.rolled_back")
"""What receivers of webhooks are told about aliases."""

AliasName = Annotated[str, StringConstraints(pattern=rf"^{MODEL_NAME}$")]
WantedModel = Annotated[str, StringConstraints(min_length=1, max_length=220)]
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(no_control_characters)
]
JobName = Annotated[str, StringConstraints(pattern=r"^job_[0-9a-f]{32}$")]


class Action(StrEnum):
    """What an entry of the ledger tells."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    CANARY_STARTED = "canary_started"
    CANARY_ENDED = "canary_ended"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Alias:
    """What an alias means now: a field is a column of its row. Models have their full names, `base:adapter@version`.

    `canary_share` of the jobs go to `canary_model`, since `canary_since`. `canary_looks`: how often the two were
    compared.
    """

    tenant: str
    name: str
    model: str
    canary_model: str | None
    canary_share: float | None
    canary_since: datetime | None
    canary_looks: int
    created_at: datetime
    changed_at: datetime

    def meant(self, job: UUID) -> str:
        """The model that a job runs on which names the alias. The same job always gets the same answer."""
        if self.canary_model is None or self.canary_share is None:
            return self.model
        drawn = int.from_bytes(blake2b(job.bytes + self.name.encode(), digest_size=8).digest())
        return self.canary_model if drawn < self.canary_share * 2**64 else self.model


def base_of(model: str) -> str:
    """The model of the deployment that holds the weights of a model with this full name."""
    named = named_adapter(model)
    return model if named is None else named.base


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NewPromotion(_Strict):
    """Let an alias point to `model`. It takes an evaluation that compared the two, or `force` with a reason."""

    model: WantedModel
    expected: WantedModel | None = Field(description="The model that it points to now; null: there is no such alias.")
    evaluation: JobName | None = Field(None, description="An evaluation that compared the two models.")
    force: bool = Field(False, description="Promote without an evaluation.")
    reason: Reason | None = None

    @model_validator(mode="after")
    def _force_has_a_reason(self) -> Self:
        if self.force and self.reason is None:
            raise ValueError("force: give the `reason`, which the ledger keeps")
        return self


class NewRollback(_Strict):
    """Take back the last step: the canary if there is one, else the last promotion."""

    expected: WantedModel | None = Field(None, description="The model that it must point to now; null: any.")
    reason: Reason | None = None


class NewCanary(_Strict):
    """Let a share of an alias's jobs run on another model."""

    model: WantedModel
    share: float = Field(gt=0, le=LARGEST_SHARE, allow_inf_nan=False, description="Of the jobs, up to 0.5.")
    expected: WantedModel | None = Field(None, description="The model that it must point to now; null: any.")
    reason: Reason | None = None


class CanaryView(BaseModel):
    """A model on trial: `share` of the jobs run on it, since `since`."""

    model: str
    share: float
    since: datetime


class AliasView(BaseModel):
    """An alias and what it points to."""

    id: str
    object: Literal["model.alias"] = "model.alias"
    model: str
    canary: CanaryView | None
    created_at: datetime
    changed_at: datetime


class AliasList(BaseModel):
    """A tenant's aliases, by name."""

    object: Literal["list"] = "list"
    data: list[AliasView]


class LedgerEntry(BaseModel):
    """One step of an alias. `previous`: the model before it, null where there was none. `model`: the one after it.

    `canary`: the model on trial that the step began or ended with. `by`: the name of the API key, the job, or `welip`
    for what the system did itself. `evidence`: figures of the evaluation, or of the canary beside the champion.
    """

    id: str
    object: Literal["model.promotion"] = "model.promotion"
    alias: str
    action: Action
    model: str | None
    previous: str | None
    canary: str | None
    share: float | None
    by: str
    reason: str | None
    forced: bool
    evaluation: str | None
    evidence: dict[str, Any] | None
    created_at: datetime


class Ledger(BaseModel):
    """The steps of an alias, newest first; pass the last id as `after` for the next page."""

    data: list[LedgerEntry]
    has_more: bool


class Moved(AliasView):
    """An alias after a step, and the step's entry in the ledger."""

    entry: LedgerEntry
