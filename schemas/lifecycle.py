"""The life cycle of a job: its states and the legal moves between them, the one table that SQL, API and docs follow."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    """The state of a job. `queued`, `running` and `retry_wait` are live; the others never change again."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRY_WAIT = "retry_wait"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = JobState

MOVES: Final[Mapping[JobState, Mapping[JobState, str]]] = {
    S.QUEUED: {
        S.RUNNING: "a worker claims it",
        S.FAILED: "nobody claimed it before it expired",
        S.CANCELLED: "its owner cancels it",
    },
    S.RUNNING: {
        S.QUEUED: "handed on: to its next stage, after its children, or given back by a stopping worker",
        S.RETRY_WAIT: "a try failed or asked to be repeated later",
        S.SUCCEEDED: "its last stage is done",
        S.FAILED: "it cannot succeed, or its attempts are spent",
        S.CANCELLED: "its owner cancels it, or its parent needs it no longer",
    },
    S.RETRY_WAIT: {
        S.QUEUED: "its time has come",
        S.FAILED: "it expired while it waited",
        S.CANCELLED: "its owner cancels it",
    },
}
"""Every legal move and why it happens. A state that is not a key of this table is terminal."""

TERMINAL: Final = frozenset(JobState) - frozenset(MOVES)
LIVE: Final = frozenset(MOVES)


def may_move(old: JobState, new: JobState) -> bool:
    """Whether a job in `old` may go to `new`."""
    return new in MOVES.get(old, {})
