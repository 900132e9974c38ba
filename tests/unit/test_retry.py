"""When a failed try is repeated and whether it counts: pure decisions with a ceiling and an end."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.retry import FIRST_OUTAGE_WAIT, LONGEST_OUTAGE_WAIT, outage_delay, retry_delay
from schemas.errors import (
    DependencyUnavailable,
    EngineOverloaded,
    InternalError,
    InvalidInput,
    JobError,
    NotFound,
    StageTimeout,
)
from schemas.kinds.kind import DEFAULT_BACKOFF, Backoff

attempts = st.integers(1, 10_000)
draws = st.floats(0, 1)
RETRYABLE = [InternalError, StageTimeout, DependencyUnavailable, EngineOverloaded]


@given(attempt=attempts, draw=draws, error=st.sampled_from(RETRYABLE))
def test_a_delay_is_between_nothing_and_the_longest(attempt: int, draw: float, error: type[InternalError]) -> None:
    delay = retry_delay(error("x"), attempt=attempt, max_attempts=attempt + 1, draw=draw)
    assert delay is not None
    assert timedelta(0) <= delay <= DEFAULT_BACKOFF.longest


@given(attempt=attempts, draw=draws)
def test_a_later_attempt_never_waits_less(attempt: int, draw: float) -> None:
    def delay(n: int) -> timedelta:
        found = retry_delay(InternalError("x"), attempt=n, max_attempts=n + 1, draw=draw)
        assert found is not None
        return found

    assert delay(attempt) <= delay(attempt + 1)


@given(away_s=st.floats(0, 3599), draw=draws, error=st.sampled_from([DependencyUnavailable, EngineOverloaded]))
def test_an_outage_waits_about_as_long_as_it_has_lasted(away_s: float, draw: float, error: type[JobError]) -> None:
    away = timedelta(seconds=away_s)
    delay = outage_delay(error("x"), away=away, limit=timedelta(hours=1), max_attempts=5, draw=draw)
    whole = min(max(away, FIRST_OUTAGE_WAIT), LONGEST_OUTAGE_WAIT)
    assert delay is not None
    assert whole / 2 - timedelta(microseconds=1) <= delay <= whole


@pytest.mark.parametrize(
    ("error", "away_s", "max_attempts"),
    [(InternalError, 0, 5), (DependencyUnavailable, 3600, 5), (DependencyUnavailable, 0, 1)],
    ids=["no outage", "beyond its limit", "not to be repeated"],
)
def test_other_tries_count(error: type[JobError], away_s: int, max_attempts: int) -> None:
    away, limit = timedelta(seconds=away_s), timedelta(hours=1)
    assert outage_delay(error("x"), away=away, limit=limit, max_attempts=max_attempts) is None


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (50, 300)])
def test_the_longest_wait_doubles_up_to_five_minutes(attempt: int, seconds: int) -> None:
    delay = retry_delay(InternalError("x"), attempt=attempt, max_attempts=99, draw=1.0)
    assert delay == timedelta(seconds=seconds)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 30), (2, 60), (3, 100), (9, 100)])
def test_a_kind_may_wait_otherwise(attempt: int, seconds: int) -> None:
    backoff = Backoff(first=timedelta(seconds=30), longest=timedelta(seconds=100))
    delay = retry_delay(InternalError("x"), attempt=attempt, max_attempts=99, backoff=backoff, draw=1.0)
    assert delay == timedelta(seconds=seconds)


@given(attempt=attempts, limit=attempts)
def test_the_last_attempt_is_not_repeated(attempt: int, limit: int) -> None:
    delay = retry_delay(InternalError("x"), attempt=attempt, max_attempts=limit)
    assert (delay is None) == (attempt >= limit)


@pytest.mark.parametrize("error", [InvalidInput, NotFound])
def test_what_no_retry_can_help_is_not_repeated(error: type[InvalidInput]) -> None:
    assert retry_delay(error("x"), attempt=1, max_attempts=99) is None


def test_delays_are_spread_out() -> None:
    delays = {retry_delay(InternalError("x"), attempt=5, max_attempts=9) for _ in range(50)}
    assert len(delays) > 40
