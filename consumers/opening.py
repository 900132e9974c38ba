"""Opens a claimed job for its stage: finds the stage by name, and checks input and carry once."""

from typing import Any

from consumers.stages.context import Report, StageJob
from consumers.stages.ports import Transcript
from infra.postgres.queries.claim import Claimed
from schemas.errors import InvalidInput, StageUnknown
from schemas.kinds.kind import Step
from schemas.kinds.registry import steps
from schemas.kinds.shapes import read_carry, read_input
from schemas.topics import Lane


def opened(row: Claimed, report: Report, transcript: Transcript) -> tuple[Step, StageJob[Any, Any]]:
    """The stage and what it is given.

    Raises `StageUnknown`, `InvalidInput` and `CarryInvalid`, the latter two with the field.
    """
    step, given = _step(row)
    job = StageJob(
        id=row.id,
        tenant=row.tenant,
        kind=step.kind.name,
        stage=step.name,
        lane=Lane(row.lane),
        model=row.model,
        attempt=row.attempt,
        epoch=row.epoch,
        rounds=row.rounds,
        input=given,
        carry=read_carry(step, row.carry),
        created_at=row.created_at,
        started_at=row.started_at,
        report=report,
        transcript=transcript,
    )
    return step, job


def _step(row: Claimed) -> tuple[Step, Any]:
    """The stage that the row's names mean, with its input. If a name once meant another stage, the input decides."""
    unfit: InvalidInput | None = None
    for step in steps(row.kind, row.stage):
        try:
            return step, read_input(step, row.input)
        except InvalidInput as error:
            unfit = unfit or error
    raise unfit or StageUnknown(f"no stage {row.stage!r} of kind {row.kind!r} is known here")
