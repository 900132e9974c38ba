"""Turns are fair in what workers do, not only in what is released: whoever comes new does not pay for the window."""

from collections import Counter, deque
from dataclasses import replace
from datetime import UTC, datetime

from infra.postgres.queries.dispatch import NO_PARENT, Share
from producers.releases import Releases

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WINDOW = 64
CLAIMED = 20
"""Jobs that workers claim between two rounds."""


class Topic:
    """A topic whose workers claim what was summoned first, a few jobs after each round, and have done them at once."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        self.limits: dict[str, int] = {}
        self.paused: set[str] = set()
        self.done: list[str] = []
        self._releases = [Releases(WINDOW)]
        self._summoned: deque[str] = deque()
        self._rounds = 0

    def dispatchers(self, count: int) -> None:
        """So many make rounds by turns, each with a memory of its own."""
        self._releases = [Releases(WINDOW) for _ in range(count)]

    def pause(self, tenant: str) -> None:
        """Hold back a tenant's work, also what is summoned already."""
        self.paused.add(tenant)
        self.held[tenant] += self._summoned.count(tenant)
        self._summoned = deque(one for one in self._summoned if one != tenant)

    def go_on(self, rounds: int = 1) -> None:
        """A round of a dispatcher, and claims."""
        for _ in range(rounds):
            ahead = Counter(self._summoned)
            shares = [self._share(tenant, ahead[tenant]) for tenant in self.held.keys() | ahead.keys()]
            releases = self._releases[self._rounds % len(self._releases)]
            for one, jobs in releases.next(shares, NOW):
                self.held[one.tenant] -= jobs
                self._summoned += [one.tenant] * jobs
            self.held = +self.held
            self._rounds += 1
            for _ in range(min(CLAIMED, len(self._summoned))):
                self.done.append(self._summoned.popleft())

    def until_done(self, tenant: str) -> Counter[str]:
        """What of whom is done until nothing of this tenant is left."""
        begun = len(self.done)
        while self.held[tenant] or tenant in self._summoned:
            self.go_on()
        last = len(self.done) - self.done[::-1].index(tenant)
        return Counter(self.done[begun:last])

    def _share(self, tenant: str, summoned: int) -> Share:
        one = Share("noop", "run", "", tenant, NO_PARENT, "", False, 1, None, None, summoned, self.held[tenant], 0)
        return replace(one, paused=tenant in self.paused, at_once=self.limits.get(tenant))


def flooded(*, dispatchers: int = 1) -> Topic:
    """A topic with a long backlog of tenant `a`."""
    topic = Topic()
    topic.dispatchers(dispatchers)
    topic.held["a"] = 50_000
    topic.go_on(30)
    return topic


def test_a_newcomer_has_done_its_work_when_others_have_done_as_much() -> None:
    topic = flooded()
    topic.held["b"] = 100
    others = topic.until_done("b")["a"]
    assert abs(others - 100) <= CLAIMED


def test_so_it_is_with_several_dispatchers() -> None:
    topic = flooded(dispatchers=2)
    topic.held["b"] = 100
    others = topic.until_done("b")["a"]
    assert abs(others - 100) <= 2 * CLAIMED


def test_newcomers_share_what_they_catch_up() -> None:
    topic = flooded()
    topic.held.update(b=100, c=100)
    topic.until_done("b")
    done = Counter(topic.done[-200:])
    assert abs(done["b"] - done["c"]) <= CLAIMED


def test_whoever_comes_back_again_and_again_gets_no_more_than_others() -> None:
    topic = flooded()
    begun = len(topic.done)
    for _ in range(20):
        topic.held["b"] += 40
        topic.until_done("b")
    done = Counter(topic.done[begun:])
    assert done["b"] <= done["a"] + WINDOW


def test_a_limit_gives_nobody_more_than_others_have() -> None:
    topic = flooded()
    topic.held["b"], topic.limits["b"] = 10_000, WINDOW - 4
    begun = len(topic.done)
    topic.go_on(100)
    done = Counter(topic.done[begun:])
    assert abs(done["a"] - done["b"]) <= WINDOW


def test_whoever_is_held_back_by_a_limit_gives_newcomers_no_advance() -> None:
    topic = flooded()
    topic.held["b"], topic.limits["b"] = 10_000, 2
    topic.go_on(100)
    topic.held["c"] = 10_000
    begun = len(topic.done)
    topic.go_on(20)
    done = Counter(topic.done[begun:])
    assert abs(done["a"] - done["c"]) <= WINDOW


def test_what_a_pause_took_back_was_not_had() -> None:
    topic = flooded()
    topic.held["b"] = 10_000
    topic.go_on(20)
    topic.pause("b")
    topic.go_on(1)
    topic.paused.clear()
    begun = len(topic.done)
    topic.go_on(20)
    done = Counter(topic.done[begun:])
    assert abs(done["a"] - done["b"]) <= 2 * CLAIMED
