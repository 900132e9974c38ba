"""For whom a shared resource works, so that no tenant and no lane takes all of it."""

from dataclasses import dataclass

from schemas.topics import Lane


@dataclass(frozen=True, slots=True)
class Requester:
    """A tenant's job. Among a tenant's requests in a lane the lowest `rank` goes first: what began first ends first."""

    tenant: str
    lane: Lane
    rank: float = 0.0
