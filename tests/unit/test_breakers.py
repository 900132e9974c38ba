"""A breaker opens for longer and longer while an outside system is away, and is forgotten when the system is back."""

import pytest

from consumers import breakers as module
from consumers.breakers import FIRST_S, LONGEST_S, Breakers


class Clock:
    """Stands in for `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def pause(breakers: Breakers, clock: Clock) -> float:
    """For how long the breaker is open from now on."""
    began = clock.now
    while breakers.is_open("t"):
        clock.now += 0.01
    return clock.now - began


def test_pauses_double_up_to_the_longest(clock: Clock) -> None:
    breakers = Breakers()
    for n in range(8):
        breakers.away("t")
        whole = min(FIRST_S * 2**n, LONGEST_S)
        assert 0.74 * whole <= pause(breakers, clock) <= whole + 0.02


def test_tries_that_began_before_it_opened_do_not_double_it(clock: Clock) -> None:
    breakers = Breakers()
    for _ in range(16):
        breakers.away("t")
    assert pause(breakers, clock) <= FIRST_S + 0.02


def test_a_try_that_gets_through_resets_it(clock: Clock) -> None:
    breakers = Breakers()
    for _ in range(5):
        breakers.away("t")
        pause(breakers, clock)
    breakers.well("t")
    breakers.away("t")
    assert pause(breakers, clock) <= FIRST_S + 0.02


def test_a_late_success_does_not_close_an_open_one(clock: Clock) -> None:
    breakers = Breakers()
    breakers.away("t")
    breakers.well("t")  # from a job that needed nothing from outside
    assert breakers.is_open("t")


def test_topics_do_not_share_a_breaker(clock: Clock) -> None:
    breakers = Breakers()
    breakers.away("t")
    assert not breakers.is_open("u")
