"""A fan-out is checked before it is recorded: its children become rows, or their parent learns what is wrong."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

import uuid_utils.compat as uuids
from pydantic import BaseModel

from consumers.moves import carried
from infra.postgres.queries.claim import Claimed
from infra.postgres.queries.submit import NewJob
from schemas.errors import FanOutRefused, InvalidInput
from schemas.kinds.kind import Kind, Step
from schemas.kinds.registry import KINDS
from schemas.kinds.shapes import read_input, written_input
from schemas.models import Models
from schemas.outcomes import Child, ChildStream, FanOut
from schemas.topics import Lane

FEW: Final = 16
"""This many children of an interactive job do not flood its lane."""

MAX_CHILDREN: Final = 100_000
"""Children of one fan-out: they are made in one transaction."""

MAX_KEY_CHARS: Final = 200


CHILDREN_A_PAGE: Final = 1_000
BYTES_A_PAGE: Final = 8 * 1024**2
"""Of input: what one statement inserts, and what is in memory at once."""

Pages = Callable[[], AsyncIterator[Sequence[NewJob]]]


@dataclass(frozen=True, slots=True)
class Wait:
    """A fan-out as it is recorded: the parent waits for `count` children, and continues with `then`. `carry` is JSON.

    `pages` gives the children from the first one whenever it is called. It raises what is wrong with a child that comes
    in a stream. `at_once`: how many children in the lane bulk are on their way at the same time.
    """

    id: UUID
    epoch: int
    then: str
    carry: str | None
    count: int
    pages: Pages
    at_once: int | None = None


def wait(row: Claimed, step: Step, outcome: FanOut, models: Models) -> Wait:
    """The fan-out of a job at this stage.

    Raises `FanOutRefused`, also for what is wrong with a child in a sequence, `StageUnknown` and `CarryInvalid`.
    """
    then, carry = carried(step.kind, outcome.then, outcome.carry)
    given = outcome.children
    count = given.count if isinstance(given, ChildStream) else len(given)
    if count > MAX_CHILDREN:
        raise FanOutRefused(f"{count:,} children, {MAX_CHILDREN:,} are allowed", code="too_many_children")
    made = _Making(row, step.kind, outcome.lane, count, models)
    pages = partial(_streamed, made, given) if isinstance(given, ChildStream) else _listed(made.all(given))
    return Wait(row.id, row.epoch, then, carry, count, pages, outcome.at_once)


def lane_of(child: Lane | None, fan_out: Lane | None, parent: Lane, count: int) -> Lane:
    """The child's own, else its fan-out's, else its parent's; but many children of an interactive job are bulk."""
    return child or fan_out or (parent if count <= FEW else Lane.BULK)


def _listed(children: Sequence[NewJob]) -> Pages:
    async def pages() -> AsyncIterator[Sequence[NewJob]]:
        for start in range(0, len(children), CHILDREN_A_PAGE):
            yield children[start : start + CHILDREN_A_PAGE]

    return pages


async def _streamed(making: "_Making", given: ChildStream) -> AsyncIterator[Sequence[NewJob]]:
    """The children of a stream, checked as they come. Raises `FanOutRefused` and what the stream raises."""
    keys = set[str]()
    page: list[NewJob] = []
    size = 0
    async for child in given.each():
        page.append(made := making.one(child, keys))
        size += len(made.input)
        if len(page) == CHILDREN_A_PAGE or size > BYTES_A_PAGE:
            yield page
            page, size = [], 0
    if page:
        yield page
    if len(keys) != given.count:
        raise FanOutRefused(f"{len(keys):,} children came, {given.count:,} were announced", code="children_miscounted")


@dataclass(frozen=True, slots=True)
class _Making:
    """Makes the rows of the children of one fan-out of a job of kind `parent`."""

    row: Claimed
    parent: Kind
    lane: Lane | None
    count: int
    models: Models

    def all(self, children: Sequence[Child]) -> list[NewJob]:
        keys = set[str]()
        return [self.one(child, keys) for child in children]

    def one(self, child: Child, keys: set[str]) -> NewJob:
        """The row of a child; adds its key. Raises `FanOutRefused`."""
        _check_key(child.key, keys)
        step = _beginning(self.parent, child)
        given, model = _settled(step, child, self.models)
        own = step.kind is self.parent  # it does a part of what the parent's owner asked for, within the same limits
        row = self.row
        return NewJob(
            id=uuids.uuid7(),
            tenant=row.tenant,
            kind=step.kind.name,
            stage=step.name,
            lane=lane_of(child.lane, self.lane, Lane(row.lane), self.count).value,
            model=model,
            input=given,
            max_attempts=child.max_attempts or (row.max_attempts if own else step.kind.max_attempts),
            timeout_s=child.timeout_s or (row.timeout_s if own else step.kind.timeout_s),
            traceparent=row.traceparent,
            parent=row.id,
            round=row.rounds + 1,
            key=child.key,
        )


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


def _settled(step: Step, child: Child, models: Models) -> tuple[str, str | None]:
    """The child's input as JSON, and the model that it runs on. An alias gives way to what it points to now."""
    given = _input(step, child)
    if step.kind.task is None:
        return given, None
    try:
        # What a model already checked is not read once more.
        checked = child.input if isinstance(child.input, BaseModel) else read_input(step, given)
        choice = step.kind.choice(checked, models)
        if choice is None:
            return given, None
        if choice.alias is not None:
            checked = checked.model_copy(deep=True)  # children may share parts of their inputs
            step.kind.settle(checked, choice.name)
            given = written_input(step, checked)
        return given, choice.model.name
    except InvalidInput as error:
        why = f"the input of child {child.key!r} does not fit stage {step.label}: {error.message}"
        raise FanOutRefused(why, code="child_input_invalid", field=error.field) from error


def _input(step: Step, child: Child) -> str:
    try:
        return written_input(step, child.input)
    except InvalidInput as error:
        why = f"the input of child {child.key!r} does not fit stage {step.label}: {error.message}"
        raise FanOutRefused(why, code="child_input_invalid", field=error.field) from error
