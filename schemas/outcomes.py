"""What a stage may answer: these outcomes are its whole vocabulary. `consumers/executor.py` decides what each does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from schemas.errors import JobError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Next:
    """Go on with `stage`. `carry` (small, JSON; blobs by key) is what that stage gets from this one."""

    stage: str
    carry: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Child:
    """One child job of a fan-out, of the same kind and tenant as its parent, begun at `stage`."""

    stage: str
    input: Json


@dataclass(frozen=True, slots=True)
class FanOut:
    """Make `children` and go on with stage `then` when the last of them has ended, however it ended."""

    children: Sequence[Child]
    then: str
    carry: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """The job succeeded with `result` (JSON; larger than 64 KiB is stored as a file)."""

    result: Json


@dataclass(frozen=True, slots=True)
class Retry:
    """The try failed, another may help: `after` overrides the backoff. Costs one attempt."""

    error: JobError
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """Not now: run the stage again after `delay`. Costs no attempt."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Fail:
    """The job cannot succeed."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The stage stopped because the job's owner cancelled it."""


Outcome = Next | FanOut | Done | Retry | Snooze | Fail | Cancelled
