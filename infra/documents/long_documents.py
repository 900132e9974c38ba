"""Shares out the memory that a worker holds long documents in while it prepares them."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from infra.isolation.turns import FairTurns
from schemas.requester import Requester
from schemas.topics import Lane


class LongDocumentTurns:
    """`at_once` long documents in each lane, or of one tenant; twice as many while tenants with slow ones take turns.

    A document of ten million characters takes some 100 MB until its chunks are written. For one event loop.
    """

    def __init__(self, at_once: int) -> None:
        self._turns: Mapping[Lane, FairTurns] = {lane: FairTurns(at_once) for lane in Lane}

    def turn(self, by: Requester) -> AbstractAsyncContextManager[None]:
        """Hold a long document in memory, as soon as there is room for it."""
        return self._turns[by.lane].turn(by.tenant, by.rank)
