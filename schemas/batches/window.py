"""The time that a batch has: `24h`, `30m`, `90s`, `7d`."""

import re
from datetime import timedelta
from typing import Final

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(days=30)


def window(text: str) -> timedelta:
    """The duration that a text names. Raises `ValueError` for any other text, and beyond `SHORTEST` and `LONGEST`."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    length = timedelta(seconds=int(found[1]) * SECONDS[found[2]]) if found else timedelta(0)
    if not SHORTEST <= length <= LONGEST:
        raise ValueError("give a duration of 1s to 30d, such as 24h, 30m or 7d")
    return length
