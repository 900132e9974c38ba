"""When a failed delivery is retried."""

import random
from collections.abc import Callable
from typing import Final

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE

PAUSES_S: Final = (5.0, 5 * MINUTE, 30 * MINUTE, *(hours * HOUR for hours in (2, 5, 10, 14, 20, 24)))
"""After the first attempt, the second, and so on: ten attempts in about three days, as Standard Webhooks advises."""

ATTEMPTS: Final = len(PAUSES_S) + 1
JITTER: Final = 0.2
"""A random share of a pause, up to this, is added, so that deliveries that failed together do not return together."""
LONGEST_WISH_S: Final = 24 * HOUR
"""A receiver's `Retry-After` beyond this is cut to it."""


def retry_in(attempt: int, retry_after_s: float | None, *, draw: Callable[[], float] = random.random) -> float | None:
    """Seconds until the next attempt after attempt `attempt`, which counts from 1; None when there is none.

    `Retry-After` makes a pause longer, never shorter. `draw` gives a number from 0 to 1.
    """
    if attempt >= ATTEMPTS:
        return None
    wish = min(retry_after_s or 0.0, LONGEST_WISH_S)
    return max(PAUSES_S[attempt - 1], wish) * (1 + JITTER * draw())
