"""Whether and when a failed try is repeated: a pure decision."""

import random
from datetime import timedelta
from typing import Final

from schemas.errors import DependencyUnavailable, JobError

FIRST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(minutes=5)


def retry_delay(error: JobError, *, attempt: int, max_attempts: int, draw: float | None = None) -> timedelta | None:
    """How long to wait before the next try; None: do not repeat.

    Exponential with full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/): a random
    share of 1 s, 2 s, 4 s ... 5 min. `attempt` counts from 1; `draw` in 0..1 stands in for the random share in tests.
    An outside system that is away waits at least half of it, so that its return is not spent on attempts.
    """
    if not error.retryable or attempt >= max_attempts:
        return None
    longest = min(LONGEST, FIRST * float(1 << min(attempt - 1, 20)))
    share = random.random() if draw is None else draw
    if isinstance(error, DependencyUnavailable):
        share = 0.5 + share / 2
    return longest * share
