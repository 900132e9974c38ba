"""A fan-out is checked before it is recorded: its children become rows, or their parent learns what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import uuid_utils.compat as uuids

from consumers.moves import carried
from infra.postgres.queries.claim import Claimed
from infra.postgres.queries.submit import NewJob
from schemas.errors import FanOutRefused, InvalidInput
from schemas.kinds.kind import Kind, Step
from schemas.kinds.registry import KINDS
from schemas.kinds.shapes import read_input, written_input
from schemas.models import Models
from schemas.outcomes import Child, FanOut
from schemas.topics import Lane

FEW: Final = 16
"""This many children of an interactive job do not flood its lane."""

MAX_CHILDREN: Final = 100_000
"""Children of one fan-out: they are made in one transaction."""

MAX_KEY_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Wait:
    """A fan-out as it is recorded: the parent waits for `children`, and continues with `then`. `carry` is JSON."""

    id: UUID
    epoch: int
    then: str
    carry: str | None
    children: Sequence[NewJob]


def wait(row: Claimed, step: Step, outcome: FanOut, models: Models) -> Wait:
    """The fan-out of a job at this stage. Raises `FanOutRefused`, `StageUnknown` and `CarryInvalid`."""
    then, carry = carried(step.kind, outcome.then, outcome.carry)
    return Wait(row.id, row.epoch, then, carry, _children(row, step.kind, outcome, models))


def lane_of(child: Lane | None, fan_out: Lane | None, parent: Lane, count: int) -> Lane:
    """The child's own, else its fan-out's, else its parent's; but many children of an interactive job are bulk."""
    return child or fan_out or (parent if count <= FEW else Lane.BULK)


def _children(row: Claimed, parent: Kind, outcome: FanOut, models: Models) -> list[NewJob]:
    count, keys = len(outcome.children), set[str]()
    if count > MAX_CHILDREN:
        raise FanOutRefused(f"{count:,} children, {MAX_CHILDREN:,} are allowed", code="too_many_children")
    made = []
    for child in outcome.children:
        _check_key(child.key, keys)
        step = _beginning(parent, child)
        given = _input(step, child)
        own = step.kind is parent  # it does a part of what the parent's owner asked for, within the same limits
        made.append(
            NewJob(
                id=uuids.uuid7(),
                tenant=row.tenant,
                kind=step.kind.name,
                stage=step.name,
                lane=lane_of(child.lane, outcome.lane, Lane(row.lane), count).value,
                model=_model(step, child, given, models),
                input=given,
                max_attempts=row.max_attempts if own else step.kind.max_attempts,
                timeout_s=row.timeout_s if own else step.kind.timeout_s,
                traceparent=row.traceparent,
                key=child.key,
            )
        )
    return made


def _check_key(key: str, taken: set[str]) -> None:
    if not (0 < len(key) <= MAX_KEY_CHARS and key.isprintable()):
        raise FanOutRefused(
            f"the key {key[:MAX_KEY_CHARS]!r} of a child: give 1 to {MAX_KEY_CHARS} printable characters",
            code="child_key_invalid",
        )
    if key in taken:
        raise FanOutRefused(f"two children have the key {key!r}", code="child_key_repeated")
    taken.add(key)


def _beginning(parent: Kind, child: Child) -> Step:
    """Where the child begins. Raises `FanOutRefused`."""
    kind = KINDS.get(child.kind)
    if kind is None:
        raise FanOutRefused(f"child {child.key!r} is of the unknown kind {child.kind!r}", code="child_kind_unknown")
    if kind.name not in parent.children:
        allowed = ", ".join(sorted(parent.children)) or "none"
        why = f"child {child.key!r} is of kind {child.kind!r}; a job of kind {parent.name!r} may make: {allowed}"
        raise FanOutRefused(why, code="child_kind_not_allowed")
    stage = child.stage or kind.first_stage
    if not kind.begins(stage):
        why = f"child {child.key!r} cannot begin at stage {stage!r} of kind {kind.name!r}"
        raise FanOutRefused(why, code="child_stage_invalid")
    return Step(kind, stage)


def _model(step: Step, child: Child, given: str, models: Models) -> str | None:
    if step.kind.task is None:
        return None
    try:
        return step.kind.model(read_input(step, given), models)
    except InvalidInput as error:
        why = f"the input of child {child.key!r} does not fit stage {step.label}: {error.message}"
        raise FanOutRefused(why, code="child_input_invalid", field=error.field) from error


def _input(step: Step, child: Child) -> str:
    try:
        return written_input(step, child.input)
    except InvalidInput as error:
        why = f"the input of child {child.key!r} does not fit stage {step.label}: {error.message}"
        raise FanOutRefused(why, code="child_input_invalid", field=error.field) from error
