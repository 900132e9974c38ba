"""How far bulk work is summoned ahead of the workers, and how soon the dispatcher has to look again."""

from enum import IntEnum
from typing import Final

WIDEST: Final = 1024
"""No window grows beyond this: a newcomer waits behind what is summoned already."""


class Haste(IntEnum):
    """When workers need the next round: `LATER` while they have plenty, `AT_ONCE` when they may have had too little."""

    LATER = 0
    SOON = 1
    AT_ONCE = 2


class Window:
    """How many jobs of a topic are summoned ahead of the workers, `least` or more.

    It doubles when workers have left less than a quarter of it since it was full, so that they never wait for the next
    round. It shrinks while they leave more than three quarters.
    """

    def __init__(self, least: int) -> None:
        self.least = least
        self.size = least
        self._full = False
        self._haste = Haste.LATER

    @property
    def next_size(self) -> int:
        """What it grows to at the next round, at most."""
        return min(self.size * 2, max(WIDEST, self.least))

    def room(self, summoned: int) -> int:
        """How many jobs may be released while so many are summoned and not claimed."""
        few = summoned < self.size // 4
        self._haste = Haste.AT_ONCE if few else Haste.SOON if summoned < self.size // 2 else Haste.LATER
        if few and self._full:
            self.size = self.next_size
        elif summoned > self.size * 3 // 4:
            self.size = max(self.size - self.size // 8, self.least)
        return max(0, self.size - summoned)

    def filled(self, room: int, released: int) -> Haste:
        """So many were released into that room; returns when to look again, in case more are held."""
        self._full = released >= room
        return self._haste if self._full else min(self._haste, Haste.SOON)  # a limit holds back the rest
