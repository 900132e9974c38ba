"""What a stage may answer: these outcomes are its whole vocabulary. `consumers/executor.py` decides what each does."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel

from schemas.errors import JobError
from schemas.topics import Lane

Json = dict[str, Any]

UNTIL_RESUMED: Final = timedelta(days=36_525)
"""The delay of a job that its owner paused: it ends when the owner resumes the job, at once if that has happened."""


@dataclass(frozen=True, slots=True)
class Next:
    """Continue with `stage`. `carry` (small; blobs by key) is what this stage gives it: its carry model, or JSON."""

    stage: str
    carry: BaseModel | Json | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """One child of a fan-out: a job of any kind that the parent's kind may make, for the same tenant.

    `input`: the model of the stage it begins at, or JSON that fits it. `key`: the parent's name for it, 1 to 200
    printable characters, unique within the fan-out; its summary returns the key. `lane`: None means the fan-out's.
    `stage`: None means the kind's first. `max_attempts` and `timeout_s`: None means its parent's for a child of the
    parent's kind, else its own kind's.
    """

    kind: str
    input: BaseModel | Json
    key: str
    lane: Lane | None = None
    stage: str | None = None
    max_attempts: int | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class ChildStream:
    """Children that are too many to be held in memory at once: `count` of them.

    `each` gives them from the first one whenever it is called, always the same. What it raises ends the try.
    """

    count: int
    each: Callable[[], AsyncIterator[Child]]


@dataclass(frozen=True, slots=True)
class FanOut:
    """Make `children`, and continue with stage `then` when the last of them has ended, however it ended.

    `lane`: of children that name none; None: a few children keep their parent's lane, many are bulk. `at_once`: how
    many of those in the lane bulk are on their way at the same time, unless the owner has set a limit; None: any.
    """

    children: Sequence[Child] | ChildStream
    then: str
    carry: BaseModel | Json | None = None
    lane: Lane | None = None
    at_once: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The job succeeded with `result` (JSON; larger than 64 KiB is stored as a file)."""

    result: Json


@dataclass(frozen=True, slots=True)
class Retry:
    """The try failed, but another may help. `after` overrides the backoff. Costs one attempt."""

    error: JobError
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """Not now: run the stage again after `delay`, which may be `UNTIL_RESUMED`. Costs no attempt."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Fail:
    """The job cannot succeed. `result`: what it leaves all the same, small."""

    error: JobError
    result: Json | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The stage stopped because the job's owner, or what made the job, wants its work no longer.

    `result`: what it leaves all the same, small.
    """

    result: Json | None = None


Outcome = Next | FanOut | Done | Retry | Snooze | Fail | Cancelled
