"""How many attempts each destination may have under way: a few, and only an occasional probe while they fail."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE_S: Final = 0.5
"""Between two probes of a destination that fails; doubled by each failure."""
LONGEST_PAUSE_S: Final = 30.0
LONGEST_WISH_S: Final = 600.0
"""The longest time for which a destination's `Retry-After` holds back all its deliveries."""
FORGET_S: Final = 3600.0
"""A destination that fails is no longer remembered when it was not tried for this long."""


@dataclass(slots=True)
class _Destination:
    under_way: int = 0
    failures: int = 0
    rests_until: float = 0.0


class Destinations:
    """What this process knows of the destinations that are not both idle and well.

    Those that fail share half of all slots, so that the others continue however many of them hang.
    """

    def __init__(self, per_destination: int, slots: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_destination = per_destination
        self._probes = max(1, slots // 2)
        self._clock = clock
        self._known: dict[str, _Destination] = {}

    def rooms(self) -> dict[str, int]:
        """How many attempts more each known destination may have; 0: none. A destination left out may have all."""
        now = self._clock()
        rooms: dict[str, int] = {}
        failing: list[tuple[float, str]] = []
        probes = self._probes
        for name, known in self._known.items():
            rooms[name] = 0 if known.failures else max(0, self._per_destination - known.under_way)
            if known.failures:
                probes -= known.under_way
                if not known.under_way and known.rests_until <= now:
                    failing.append((known.rests_until, name))
        for _, name in sorted(failing)[: max(0, probes)]:
            rooms[name] = 1
        return rooms

    def rest_s(self) -> float | None:
        """Seconds until the next probe of a resting destination may go out."""
        now = self._clock()
        ends = [d.rests_until - now for d in self._known.values() if d.rests_until > now and not d.under_way]
        return min(ends, default=None)

    def began(self, name: str) -> None:
        """An attempt is under way."""
        self._known.setdefault(name, _Destination()).under_way += 1

    def ended(self, name: str, *, ok: bool, retry_after_s: float | None = None) -> None:
        """It is over, and how it went."""
        known = self._known[name]
        known.under_way -= 1
        if ok:
            known.failures = 0
            known.rests_until = 0.0
        else:
            now = self._clock()
            if known.rests_until <= now:  # what fails at the same moment is one failure
                known.rests_until = now + min(FIRST_PAUSE_S * 2 ** min(known.failures, 20), LONGEST_PAUSE_S)
                known.failures += 1
            known.rests_until = max(known.rests_until, now + min(retry_after_s or 0.0, LONGEST_WISH_S))
        if not known.under_way and not known.failures:
            del self._known[name]

    def forget(self) -> None:
        """Drop what has not been tried for long."""
        before = self._clock() - FORGET_S
        for name in [n for n, d in self._known.items() if not d.under_way and d.rests_until < before]:
            del self._known[name]
