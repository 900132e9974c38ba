"""Whose bulk work is released next: arithmetic on what waits, without I/O."""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Final, TypeAlias
from uuid import UUID

from infra.postgres.queries.dispatch import Running, Share
from producers.fairness import Memory, place_of, urgency
from producers.windows import Window

Topic: TypeAlias = tuple[str, str, str]
Key: TypeAlias = UUID | tuple[str, ...]
"""What a limit is for: a parent; `tenant` or `model` with its name; `key` with its tenant and itself."""


@dataclass(slots=True)
class _Topic:
    """What is remembered of a topic from round to round."""

    window: Window
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many bulk jobs are summoned or run at the same time: of one tenant and of one model (None: any number), and
    of one tenant with the same key.
    """

    tenant: int | None = None
    model: int | None = None
    key: int = 1


NO_LIMITS: Final = Limits()


class Releases:
    """Decides, round after round, how many jobs of each share are released, and when the next round is needed.

    In each topic tenants take turns, a job each. Of a tenant, parents with a near deadline go first, the nearest before
    the others; the rest take turns by weight.
    """

    def __init__(self, least: int, limits: Limits = NO_LIMITS) -> None:
        """`least`: how many jobs of a topic are summoned ahead of the workers at least."""
        self._least = least
        self._limits = limits
        self._topics: dict[Topic, _Topic] = {}
        self.needed_in_s = inf
        """Seconds from the last round to the next one that workers need; infinite when they need none."""

    @property
    def reach(self) -> int:
        """More jobs than any share may be given at the next round."""
        return 1 + max([topic.window.next_size for topic in self._topics.values()], default=self._least)

    def next(self, shares: Sequence[Share], now: datetime, running: Sequence[Running] = ()) -> list[tuple[Share, int]]:
        """How many jobs of each share to release now, of those that get any.

        `running`: what workers hold of the lane, for the limits of tenants, models and keys.
        """
        by_topic: dict[Topic, list[Share]] = defaultdict(list)
        for share in shares:
            by_topic[share.kind, share.stage, share.model].append(share)
        self._topics = {name: self._topics.get(name) or _Topic(Window(self._least)) for name in by_topic}
        free = self._free(shares, running)
        found: list[tuple[Share, int]] = []
        self.needed_in_s = inf
        for name, its in by_topic.items():
            topic = self._topics[name]
            room = topic.window.room(sum(share.summoned for share in its), now.timestamp())
            dealt = _deal(room, its, topic.memory, free, now)
            needed_in_s = topic.window.filled(room, sum(jobs for _, jobs in dealt))
            if any(share.held for share in its):
                self.needed_in_s = min(self.needed_in_s, needed_in_s)
            found += dealt
        return found

    def _free(self, shares: Sequence[Share], running: Sequence[Running]) -> dict[Key, int]:
        """How many more jobs may be on their way, over all topics, of each limited parent, tenant, model and key."""
        free: dict[Key, int] = {}
        for share in shares:
            if share.at_once is not None:
                free[share.parent] = share.at_once - share.running
            if self._limits.tenant is not None:
                free["tenant", share.tenant] = self._limits.tenant
            if self._limits.model is not None and share.model:
                free["model", share.model] = self._limits.model
            if share.key:
                free["key", share.tenant, share.key] = self._limits.key
        for one in running:
            for key in _keys(one, free):
                free[key] -= one.jobs
        for share in shares:
            for key in _keys(share, free):
                free[key] -= share.summoned
        return free


def _keys(one: Share | Running, free: Mapping[Key, int]) -> list[Key]:
    """The limits that it is under. What runs was taken off the limit of its parent already."""
    every: list[Key] = [("tenant", one.tenant), ("model", one.model), ("key", one.tenant, one.key)]
    if isinstance(one, Share):
        every.append(one.parent)
    return [key for key in every if key in free]


def _may(share: Share, free: Mapping[Key, int]) -> bool:
    return all(free[key] > 0 for key in _keys(share, free))


def _deal(
    room: int, shares: Sequence[Share], memory: Memory, free: dict[Key, int], now: datetime
) -> list[tuple[Share, int]]:
    """Deal `room` releases out to the shares of a topic; takes what they get from `free`."""
    memory.meet(shares, now)
    waiting = [share for share in shares if share.held and not share.paused and _may(share, free)]
    own = _lined_up(waiting, memory, now)
    tenants = [(memory.tenants.had[tenant], tenant) for tenant in own]
    heapq.heapify(tenants)
    dealt = [0] * len(waiting)
    while room and tenants:
        had, tenant = heapq.heappop(tenants)
        near, its_had, n = heapq.heappop(own[tenant])
        share = waiting[n]
        if _may(share, free):
            room -= 1
            dealt[n] += 1
            for key in _keys(share, free):
                free[key] -= 1
            had += 1
            if dealt[n] < share.held:
                heapq.heappush(own[tenant], (near, its_had + 1 / share.weight, n))
        if own[tenant]:
            heapq.heappush(tenants, (had, tenant))
    released = [(share, jobs) for share, jobs in zip(waiting, dealt, strict=True) if jobs]
    left = [waiting[n] for its in own.values() for _, _, n in its]
    memory.dealt(shares, released, [share for share in left if _may(share, free)])
    return released


def _lined_up(waiting: Sequence[Share], memory: Memory, now: datetime) -> dict[str, list[tuple[float, float, int]]]:
    """The places in `waiting` of each tenant's shares, as a heap: the next one first."""
    own: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for n, share in enumerate(waiting):
        had = memory.parents[share.tenant].had[place_of(share)]
        own[share.tenant].append((urgency(share, now), had, n))
    for its in own.values():
        heapq.heapify(its)
    return own
