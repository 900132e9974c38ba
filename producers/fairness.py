"""Who has had how many turns: what the dispatcher remembers of a topic from round to round."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from infra.postgres.queries.dispatch import Share

NEAR: Final = timedelta(minutes=10)
"""A deadline that is nearer than this puts a parent before its tenant's others."""

NOT_URGENT: Final = NEAR.total_seconds()

Place: TypeAlias = tuple[UUID, str]
"""Where a share stands in its tenant's line: its parent and key."""
T = TypeVar("T", bound=Hashable)


class Turns(NamedTuple):
    """Turns by weight: `claimed` by workers since the round before, and `summoned` now."""

    claimed: float
    summoned: float


class Line(Generic[T]):
    """Lets its members take turns by weight: the one that has had least goes next.

    This is start-time fair queueing (Goyal, Vin and Cheng, 1996). A turn counts from when it is dealt, but whoever is
    new starts level with what workers have *claimed* of those in line. So it gets as many turns before the others as
    they have jobs summoned before its own, and the window costs it nothing. Nobody saves up turns: whoever could use
    none keeps up with those that could.
    """

    def __init__(self) -> None:
        self.had: dict[T, float] = {}
        """Turns of each member, claimed or summoned."""
        self._claimed: dict[T, float] = {}
        self._level = 0.0
        self._wanting: Collection[T] = ()

    def meet(self, present: Mapping[T, Turns]) -> None:
        """These are in line now, and nobody else."""
        claimed = {one: self._claimed[one] + turns.claimed for one, turns in present.items() if one in self._claimed}
        wanting = [claimed[one] for one in self._wanting if one in claimed]
        self._level = max(self._level, min(wanting) if wanting else max(claimed.values(), default=0.0))
        self._claimed = {one: max(claimed.get(one, self._level), self._level) for one in present}
        self.had = {one: self._claimed[one] + turns.summoned for one, turns in present.items()}

    def left(self, wanting: Collection[T]) -> None:
        """The turns of a round are dealt; these would have taken more."""
        self._wanting = wanting


class Memory:
    """The lines of one topic: its tenants', and those of each tenant's parents."""

    def __init__(self) -> None:
        self.tenants: Line[str] = Line()
        self.parents: dict[str, Line[Place]] = {}
        self._left: dict[tuple[str, Place], int] = {}
        """Jobs of each share that were summoned when the round before ended."""
        self._urgent: set[tuple[str, Place]] = set()

    def meet(self, shares: Sequence[Share], now: datetime) -> None:
        """Take note of who is in line, and of what workers have claimed since the round before."""
        tenants: dict[str, Turns] = {}
        parents: dict[str, dict[Place, Turns]] = defaultdict(dict)
        before, self._urgent = self._urgent, set()
        for share in shares:
            place, summoned = place_of(share), share.summoned
            one = share.tenant, place
            claimed = max(0, self._left.pop(one, 0) - summoned)
            if share.paused:
                claimed = 0  # it was taken back
            known = tenants.get(share.tenant, Turns(0, 0))
            tenants[share.tenant] = Turns(known.claimed + claimed, known.summoned + summoned)
            if urgency(share, now) < NOT_URGENT:
                self._urgent.add(one)
            if one in self._urgent or one in before:
                claimed = 0  # its tenant's others do not get these turns back later
            parents[share.tenant][place] = Turns(claimed / share.weight, summoned / share.weight)
        for (tenant, _), claimed in self._left.items():  # of shares that have nothing left
            if tenant in tenants:
                known = tenants[tenant]
                tenants[tenant] = known._replace(claimed=known.claimed + claimed)
        self.tenants.meet(tenants)
        self.parents = {tenant: self.parents.get(tenant) or Line() for tenant in parents}
        for tenant, its in parents.items():
            self.parents[tenant].meet(its)

    def dealt(self, shares: Sequence[Share], released: Sequence[tuple[Share, int]], wanting: Sequence[Share]) -> None:
        """So many jobs of some shares were released; those in `wanting` would have taken more."""
        self._left = {(one.tenant, place_of(one)): one.summoned for one in shares}
        for one, jobs in released:
            self._left[one.tenant, place_of(one)] += jobs
        places: dict[str, set[Place]] = defaultdict(set)
        for share in wanting:
            places[share.tenant].add(place_of(share))
        self.tenants.left(places.keys())
        for tenant, line in self.parents.items():
            line.left([place for place in places.get(tenant, ()) if (tenant, place) not in self._urgent])


def place_of(share: Share) -> Place:
    """Where it stands in its tenant's line."""
    return share.parent, share.key


def urgency(share: Share, now: datetime) -> float:
    """The seconds to a near deadline, negative after it; `NOT_URGENT` without one."""
    if share.deadline is None:
        return NOT_URGENT
    return min((share.deadline - now).total_seconds(), NOT_URGENT)
