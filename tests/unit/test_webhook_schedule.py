"""When deliveries are retried, and how failing destinations are spared."""

from email.utils import formatdate

import pytest

from consumers.webhooks.destinations import FIRST_PAUSE_S, FORGET_S, LONGEST_PAUSE_S, LONGEST_WISH_S, Destinations
from consumers.webhooks.schedule import ATTEMPTS, JITTER, retry_in
from infra.webhooks.sender import retry_after

HOUR = 3600


def test_ten_attempts_with_the_pauses_of_the_specification() -> None:
    pauses = [retry_in(attempt, None, draw=lambda: 0.0) for attempt in range(1, ATTEMPTS)]
    assert pauses == [5, 300, 1800, *(hours * HOUR for hours in (2, 5, 10, 14, 20, 24))]
    assert ATTEMPTS == 10
    assert retry_in(10, None) is None
    assert retry_in(11, 1.0) is None


def test_jitter_makes_a_pause_longer_by_a_fifth_at_most() -> None:
    drawn = [retry_in(2, None) for _ in range(1000)]
    assert all(pause is not None and 300 <= pause <= 300 * (1 + JITTER) for pause in drawn)
    assert len(set(drawn)) > 900


@pytest.mark.parametrize(
    ("attempt", "wish", "pause"),
    [(1, 2, 5), (1, 60, 60), (2, 60, 300), (1, 23 * HOUR, 23 * HOUR), (1, 100 * HOUR, 24 * HOUR), (9, 0, 24 * HOUR)],
)
def test_a_receivers_wish_makes_a_pause_longer_never_shorter(attempt: int, wish: float, pause: float) -> None:
    assert retry_in(attempt, wish, draw=lambda: 0.0) == pause
    longest = retry_in(attempt, wish, draw=lambda: 1.0)
    assert longest is not None
    assert pause < longest <= pause * (1 + JITTER) + 1e-6


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("120", 120), (" 5 ", 5), ("0", 0), (formatdate(NOW + 90, usegmt=True), 90),
     (formatdate(NOW - 90, usegmt=True), 0), ("-5", None), ("soon", None), ("", None), ("1.5", None), ("١٢", None),
     ("9" * 400, 9_999_999_999)],
)  # fmt: skip
def test_a_wish_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, now=NOW) == seconds


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_destination_has_its_room_and_those_unknown_have_all() -> None:
    known = Destinations(4, 256)
    assert known.rooms() == {}
    for _ in range(3):
        known.began("a")
    assert known.rooms() == {"a": 1}
    known.began("a")
    assert known.rooms() == {"a": 0}
    for _ in range(4):
        known.ended("a", ok=True)
    assert known.rooms() == {}


def test_one_that_fails_gets_one_probe_at_a_time_with_growing_pauses() -> None:
    clock = Clock()
    known = Destinations(4, 256, clock=clock)
    for failures in range(12):
        known.began("a")
        assert known.rooms() == {"a": 0 if failures else 3}
        known.ended("a", ok=False)
        assert known.rooms() == {"a": 0}
        rest = known.rest_s()
        assert rest == min(FIRST_PAUSE_S * 2**failures, LONGEST_PAUSE_S)
        clock.now += rest
        assert known.rooms() == {"a": 1}
        assert known.rest_s() is None
    known.began("a")
    known.ended("a", ok=True)
    assert known.rooms() == {}


def test_attempts_that_fail_together_are_one_failure() -> None:
    known = Destinations(4, 256, clock=Clock())
    for _ in range(4):
        known.began("a")
    for _ in range(4):
        known.ended("a", ok=False)
    assert known.rest_s() == FIRST_PAUSE_S


def test_one_that_asks_to_be_left_alone_is_for_a_while() -> None:
    clock = Clock()
    known = Destinations(4, 256, clock=clock)
    known.began("a")
    known.ended("a", ok=False, retry_after_s=60)
    assert known.rest_s() == 60
    known.began("b")
    known.ended("b", ok=False, retry_after_s=1e9)
    clock.now += LONGEST_WISH_S
    assert known.rooms() == {"a": 1, "b": 1}


def test_those_that_fail_share_half_of_the_slots() -> None:
    clock = Clock()
    known = Destinations(4, 6, clock=clock)
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        known.began(name)
        known.ended(name, ok=False)
        clock.now += FIRST_PAUSE_S
    assert known.rooms() == {"a": 1, "b": 1, "c": 1, "d": 0, "e": 0}
    for name in names[:3]:
        known.began(name)
    assert known.rooms() == dict.fromkeys(names, 0)
    known.ended("b", ok=True)
    assert known.rooms() == {"a": 0, "c": 0, "d": 1, "e": 0}


def test_one_that_was_not_tried_for_long_is_forgotten() -> None:
    clock = Clock()
    known = Destinations(4, 256, clock=clock)
    known.began("a")
    known.ended("a", ok=False)
    known.forget()
    assert known.rooms() == {"a": 0}
    clock.now += FORGET_S + 1
    known.forget()
    assert known.rooms() == {}
