"""Times as people write them on the command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from producers.client.cli.failures import WrongUse

UNITS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def parse_time(text: str) -> timedelta:
    """`30min`, `12h`, `7d`. Raises `WrongUse`."""
    found = re.fullmatch(r"(\d{1,9})(s|min|h|d)", text)
    if not found:
        raise WrongUse(f"{text!r} is not a length of time", f"write a number and one of {', '.join(UNITS)}, as in 12h")
    return timedelta(seconds=int(found[1]) * UNITS[found[2]])


def parse_since(text: str) -> datetime:
    """That long ago, or a date and time, local if it names no zone. Raises `WrongUse`."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - parse_time(text)
    except (WrongUse, OverflowError):
        raise WrongUse(f"{text!r} is no time", "write 12h, 5d, or 2026-01-31T09:00") from None
