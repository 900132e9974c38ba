"""What a consume loop reports, so that liveness can tell a stuck consumer from a busy or an idle one."""

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from aiokafka import TopicPartition

from consumers.slots import Slots

LONG_CLAIM_S: Final = 1.0
"""A claim that takes longer waits for something: for Postgres, or for slots."""


class Progress:
    """The progress of one subscription. Times are of this process's monotonic clock."""

    def __init__(self, slots: Slots) -> None:
        self.passed: dict[TopicPartition, int] = {}
        """The next offset of each partition that brought messages."""
        self._slots = slots
        self._claiming_since: float | None = None
        self._held_up = time.monotonic()

    @contextlib.contextmanager
    def claiming(self) -> Iterator[None]:
        """While messages are claimed nothing is polled."""
        self._claiming_since = time.monotonic()
        try:
            yield
        finally:
            if self._claiming_takes_long():
                self._held_up = time.monotonic()
            self._claiming_since = None

    def held_up(self) -> None:
        """For a reason of its own, the loop does not take all messages now."""
        self._held_up = time.monotonic()

    @property
    def able_since(self) -> float | None:
        """Since when the loop could have taken any message at once; None when it could not take one now."""
        if self._slots.free_since is None or self._claiming_takes_long():
            return None
        return max(self._slots.free_since, self._held_up)

    def _claiming_takes_long(self) -> bool:
        return self._claiming_since is not None and time.monotonic() - self._claiming_since > LONG_CLAIM_S
