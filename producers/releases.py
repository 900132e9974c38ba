"""Whose bulk work is released next: arithmetic on what waits, without I/O."""

import heapq
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from infra.postgres.queries.dispatch import Running, Share

NEAR: Final = timedelta(minutes=10)
"""A deadline that is nearer than this puts a parent before its tenant's others."""

WIDEST: Final = 4096
"""No window grows beyond this: a newcomer waits behind what is summoned already."""

Topic: TypeAlias = tuple[str, str, str]
Key: TypeAlias = UUID | tuple[str, ...]
"""What a limit is for: a parent; `tenant` or `model` with its name; `key` with its tenant and itself."""
T = TypeVar("T", bound=Hashable)


class Window:
    """How many jobs of a topic are summoned ahead of the workers, `least` or more.

    It doubles when workers have left less than a quarter of it since it was full, so that they never wait for the next
    round. It shrinks while they leave more than three quarters.
    """

    def __init__(self, least: int) -> None:
        self.least = least
        self.size = least
        self._full = False

    def room(self, summoned: int) -> int:
        """How many jobs may be released while so many are summoned and not claimed."""
        if self._full and summoned < self.size // 4:
            self.size = min(self.size * 2, max(WIDEST, self.least))
        elif summoned > self.size * 3 // 4:
            self.size = max(self.size - self.size // 8, self.least)
        return max(0, self.size - summoned)

    def filled(self, room: int, released: int) -> None:
        """So many were released into that room."""
        self._full = released >= room


class Line(Generic[T]):
    """Lets its members take turns by weight: the one that has had least goes next.

    This is stride scheduling (Waldspurger and Weihl, 1995). Who is new, or comes back, starts level with the one that
    has had least: nobody saves up turns.
    """

    def __init__(self) -> None:
        self.had: dict[T, float] = {}

    def meet(self, present: Iterable[T]) -> None:
        """These are in line now, and nobody else."""
        known = {one: self.had.get(one) for one in present}
        level = min((had for had in known.values() if had is not None), default=0.0)
        self.had = {one: level if had is None else had for one, had in known.items()}


@dataclass(slots=True)
class _Topic:
    """What is remembered of a topic from round to round."""

    window: Window
    tenants: Line[str] = field(default_factory=Line)
    parents: dict[str, Line[tuple[UUID, str]]] = field(default_factory=dict)


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
    """Decides, round after round, how many jobs of each share are released.

    In each topic tenants take turns, a job each. Of a tenant, parents with a near deadline go first, the nearest before
    the others; the rest take turns by weight.
    """

    def __init__(self, least: int, limits: Limits = NO_LIMITS) -> None:
        """`least`: how many jobs of a topic are summoned ahead of the workers at least."""
        self._least = least
        self._limits = limits
        self._topics: dict[Topic, _Topic] = {}

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
        for name, its in by_topic.items():
            topic = self._topics[name]
            room = topic.window.room(sum(share.summoned for share in its))
            dealt = _deal(room, its, topic, free, now)
            topic.window.filled(room, sum(jobs for _, jobs in dealt))
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
    room: int, shares: Sequence[Share], topic: _Topic, free: dict[Key, int], now: datetime
) -> list[tuple[Share, int]]:
    """Deal `room` releases out to the shares of a topic; takes what they get from `free`."""
    waiting = [share for share in shares if share.held and not share.paused and _may(share, free)]
    own = _lined_up(waiting, topic, now)
    tenants = [(topic.tenants.had[tenant], tenant) for tenant in own]
    heapq.heapify(tenants)
    dealt = [0] * len(waiting)
    while room and tenants:
        had, tenant = heapq.heappop(tenants)
        urgency, its_had, n = heapq.heappop(own[tenant])
        share = waiting[n]
        if _may(share, free):
            room -= 1
            dealt[n] += 1
            for key in _keys(share, free):
                free[key] -= 1
            had += 1
            topic.tenants.had[tenant] = had
            if urgency == _NOT_URGENT:  # others do not get these turns back later
                its_had += 1 / share.weight
                topic.parents[tenant].had[share.parent, share.key] = its_had
            if dealt[n] < share.held:
                heapq.heappush(own[tenant], (urgency, its_had, n))
        if own[tenant]:
            heapq.heappush(tenants, (had, tenant))
    return [(share, jobs) for share, jobs in zip(waiting, dealt, strict=True) if jobs]


def _lined_up(waiting: Sequence[Share], topic: _Topic, now: datetime) -> dict[str, list[tuple[float, float, int]]]:
    """The places in `waiting` of each tenant's shares, as a heap: the next one first."""
    by_tenant: dict[str, list[int]] = defaultdict(list)
    for n, share in enumerate(waiting):
        by_tenant[share.tenant].append(n)
    topic.tenants.meet(by_tenant)
    topic.parents = {tenant: topic.parents.get(tenant) or Line() for tenant in by_tenant}
    own: dict[str, list[tuple[float, float, int]]] = {}
    for tenant, its in by_tenant.items():
        line = topic.parents[tenant]
        places = [(waiting[n].parent, waiting[n].key) for n in its]
        line.meet(places)
        own[tenant] = [(_urgency(waiting[n], now), line.had[at], n) for n, at in zip(its, places, strict=True)]
        heapq.heapify(own[tenant])
    return own


_NOT_URGENT: Final = NEAR.total_seconds()


def _urgency(share: Share, now: datetime) -> float:
    """The seconds to a near deadline, negative after it; the same for all shares without one."""
    if share.deadline is None:
        return _NOT_URGENT
    return min((share.deadline - now).total_seconds(), _NOT_URGENT)
