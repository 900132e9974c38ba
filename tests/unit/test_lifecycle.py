"""The table of legal moves: which states are final, and that every other one can be left and reached."""

import pytest

from schemas.lifecycle import LIVE, MOVES, TERMINAL, JobState, may_move

S = JobState


def test_three_states_are_final() -> None:
    assert {S.SUCCEEDED, S.FAILED, S.CANCELLED} == TERMINAL
    assert {S.QUEUED, S.RUNNING, S.RETRY_WAIT} == LIVE
    assert set(S) == TERMINAL | LIVE


@pytest.mark.parametrize("end", sorted(TERMINAL))
def test_nothing_follows_an_end(end: JobState) -> None:
    assert not any(may_move(end, state) for state in S)


@pytest.mark.parametrize(
    ("old", "new", "legal"),
    [
        (S.QUEUED, S.RUNNING, True),
        (S.QUEUED, S.SUCCEEDED, False),
        (S.QUEUED, S.RETRY_WAIT, False),
        (S.RUNNING, S.QUEUED, True),
        (S.RUNNING, S.RETRY_WAIT, True),
        (S.RUNNING, S.SUCCEEDED, True),
        (S.RETRY_WAIT, S.QUEUED, True),
        (S.RETRY_WAIT, S.RUNNING, False),
        (S.RETRY_WAIT, S.SUCCEEDED, False),
    ],
)
def test_moves(old: JobState, new: JobState, legal: bool) -> None:
    assert may_move(old, new) is legal


@pytest.mark.parametrize("live", sorted(LIVE))
def test_a_live_job_can_always_be_cancelled_and_can_fail(live: JobState) -> None:
    assert may_move(live, S.CANCELLED)
    assert may_move(live, S.FAILED)


def test_no_state_moves_to_itself_and_every_move_says_why() -> None:
    for old, ways in MOVES.items():
        assert old not in ways
        assert all(ways.values())


def test_every_state_is_reached_from_queued() -> None:
    reached, frontier = {S.QUEUED}, [S.QUEUED]
    while frontier:
        found = set(MOVES.get(frontier.pop(), {})) - reached
        reached |= found
        frontier += found
    assert reached == set(S)
