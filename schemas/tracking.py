"""Runs of an experiment tracker, as stages begin them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID, uuid5

from pydantic import BaseModel, StringConstraints

ExperimentName = Annotated[str, StringConstraints(pattern=r"^[\w][\w .+=/-]{0,99}$")]
MAIN = ""
"""The key of a job's own run, in which its other runs are nested."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to begin. `key`: the job's name for it, unique within the job. `parent`: the key of the run around it.

    `experiment`: the tenant's name for the experiment; other tenants' experiments are others.
    """

    key: str
    experiment: str
    name: str
    parent: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


class Tracking(BaseModel):
    """Where the tracker shows the figures: its `experiment`, and in it the run whose tag `welip.run` is `run`."""

    experiment: str
    run: str


def experiment_name(tenant: str, experiment: str) -> str:
    """What the tracker calls a tenant's experiment. A tenant's name holds no `/`, so it can be no other tenant's."""
    return f"{tenant}/{experiment}"


def run_id(job: UUID, key: str) -> UUID:
    """The id of a job's run: always the same, so that a repeated try begins no second one."""
    return uuid5(job, key)
