"""Circuit breakers: while an outside system is away, the topics whose stages need it rest."""

import random
import time
from typing import Final

import structlog

log = structlog.get_logger(__name__)

FIRST_S: Final = 1.0
LONGEST_S: Final = 30.0


class Breakers:
    """One breaker a topic. Not thread-safe: for one event loop.

    A try that finds its outside system away opens the breaker for 1 s. While the next tries find the same, the pause
    doubles, up to 30 s. A try that gets through resets it. Jobs wait on their topic meanwhile, at no cost, instead
    of being claimed, failing and waiting one by one. A share of each pause is random, so that workers do not come back
    together (https://martinfowler.com/bliki/CircuitBreaker.html).
    """

    def __init__(self) -> None:
        self._pause_s: dict[str, float] = {}
        self._until: dict[str, float] = {}

    def away(self, topic: str) -> None:
        """A try of this topic's stage found its outside system away."""
        now = time.monotonic()
        if now < self._until.get(topic, 0):
            return  # it began before the breaker opened
        pause = min(self._pause_s.get(topic, 0) * 2 or FIRST_S, LONGEST_S)
        self._pause_s[topic] = pause
        self._until[topic] = now + pause * random.uniform(0.75, 1)
        log.warning("breaker.opened", topic=topic, pause_s=pause)

    def well(self, topic: str) -> None:
        """A try of this topic's stage was not held up by an outside system."""
        if topic in self._pause_s and not self.is_open(topic):
            del self._pause_s[topic], self._until[topic]
            log.info("breaker.closed", topic=topic)

    def is_open(self, topic: str) -> bool:
        """Whether the topic must rest now."""
        return time.monotonic() < self._until.get(topic, 0)
