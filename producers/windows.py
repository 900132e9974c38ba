"""How far bulk work is summoned ahead of the workers, and how soon the dispatcher has to look again."""

from math import inf
from typing import Final

WIDEST: Final = 1024
"""No window grows beyond this: a newcomer waits behind what is summoned already."""

USED: Final = 0.25
"""The share of what is summoned that workers may claim before the next round. Each round fills it up: little is
released at a time, so the first of it is on its way while the rest is still ahead of the workers.
"""


class Window:
    """How many jobs of a topic are summoned ahead of the workers, `least` or more.

    It doubles when workers have left less than a quarter of it since it was full, so that they never wait for the next
    round. It shrinks while they leave more than three quarters.
    """

    def __init__(self, least: int) -> None:
        self.least = least
        self.size = least
        self._full = False
        self._summoned = 0
        self._left = 0
        """Jobs that were summoned when the round before ended."""
        self._looked_at: float | None = None
        self._claimed_per_s: float | None = None
        """None before the second look."""

    @property
    def next_size(self) -> int:
        """What it grows to at the next round, at most."""
        return min(self.size * 2, max(WIDEST, self.least))

    def room(self, summoned: int, now: float) -> int:
        """How many jobs may be released while so many are summoned and not claimed; `now` in seconds."""
        if self._looked_at is not None and now > self._looked_at:
            self._claimed_per_s = max(0, self._left - summoned) / (now - self._looked_at)
        self._looked_at, self._summoned = now, summoned
        few = summoned < self.size // 4
        if few and self._full:
            self.size = self.next_size
        elif summoned > self.size * 3 // 4:
            self.size = max(self.size - self.size // 8, self.least)
        return max(0, self.size - summoned)

    def filled(self, room: int, released: int) -> float:
        """So many were released into that room; returns in how many seconds workers need the next round."""
        self._full = released >= room
        self._left = self._summoned + released
        if released == 0 < room:
            return inf  # a limit holds back the rest
        if self._claimed_per_s is None:
            return 0.0
        return self._left * USED / self._claimed_per_s if self._claimed_per_s else inf
