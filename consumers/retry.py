"""Whether and when a failed try is repeated, and whether it counts: pure decisions."""

import random
from datetime import timedelta
from typing import Final

from schemas.errors import DependencyUnavailable, JobError
from schemas.kinds.kind import DEFAULT_BACKOFF, Backoff

FIRST_OUTAGE_WAIT: Final = timedelta(seconds=1)
LONGEST_OUTAGE_WAIT: Final = timedelta(minutes=1)


def retry_delay(
    error: JobError,
    *,
    attempt: int,
    max_attempts: int,
    backoff: Backoff = DEFAULT_BACKOFF,
    draw: float | None = None,
) -> timedelta | None:
    """How long to wait before the next try; None: do not repeat.

    Exponential with full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/): a random
    share of the kind's first wait, of twice, four times ... up to its longest. `attempt` counts from 1; `draw` in 0..1
    stands in for the random share in tests.
    """
    if not error.retryable or attempt >= max_attempts:
        return None
    longest = min(backoff.longest, backoff.first * float(1 << min(attempt - 1, 20)))
    return longest * (random.random() if draw is None else draw)


def outage_delay(
    error: JobError, *, away: timedelta, limit: timedelta, max_attempts: int, draw: float | None = None
) -> timedelta | None:
    """How long to wait for an outside system that has been `away` this long; None: this try counts like any other.

    An outage is nobody's fault, so up to `limit` it costs no attempt. The wait is between half and the whole of the
    outage so far, from 1 s to 1 min: exponential, like a retry's, without a counter. A job of one attempt is not meant
    to be repeated at all.
    """
    if not isinstance(error, DependencyUnavailable) or away >= limit or max_attempts == 1:
        return None
    longest = min(max(away, FIRST_OUTAGE_WAIT), LONGEST_OUTAGE_WAIT)
    return longest * (0.5 + (random.random() if draw is None else draw) / 2)
