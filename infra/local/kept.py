"""A process of the local stack that is started again whenever it ends."""

import re
import time
from typing import Final

from infra.local.child import Child

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
LONG_LIFE_S: Final = 60.0
"""A process that lived so long could start, so its next start waits for nothing."""
ERROR: Final = re.compile(r"\[error\s*\]|\[critical\s*\]|^\w*(Error|Exception)\b")


class Kept:
    """Starts `child` again after each end. What ends early waits longer each time, up to half a minute."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._pause_s = 0.0
        self._started = 0.0
        self._due: float | None = None

    def start(self) -> None:
        """Start the process. Whether it is ready is for others to ask."""
        self._started, self._due = time.monotonic(), None
        self.child.start(lambda: True, deadline_s=1)

    def look(self) -> str | None:
        """Start the process again if it ended and its pause is over. Once for each end: what to tell about it."""
        if self.child.running:
            return None
        now = time.monotonic()
        if self._due is not None:
            if now >= self._due:
                self.start()
            return None
        early = now - self._started < LONG_LIFE_S
        self._pause_s = min(2 * self._pause_s or FIRST_PAUSE_S, LONGEST_PAUSE_S) if early else 0
        self._due = now + self._pause_s
        return f"the {self.child.name} ended; starting it again{self._when()}{self._why()}"

    def _when(self) -> str:
        return f" in {self._pause_s:.0f} s" if self._pause_s > FIRST_PAUSE_S else ""

    def _why(self) -> str:
        said = [line for line in self.child.log_tail().splitlines() if ERROR.search(line)]
        return f": {said[-1].strip()}" if said else ""
