"""Says in which lane a submission begins: a tenant's flood of interactive jobs becomes bulk work, which takes turns."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from infra.postgres.database import Database
from infra.postgres.queries import limits
from schemas.topics import Lane

HOLDS_S: Final = 0.1
"""How long a count that found too many holds."""
STEP: Final = 8
"""So many submissions pass after any other count: counting costs as much as a few of them."""


@dataclass(slots=True)
class _Tenant:
    """`left`: how many more begin as interactive before the next count. `until`: how long none does.

    `under_way`: how many are being stored now, and may be missing from a count.
    """

    left: int
    until: float = 0.0
    under_way: int = 0
    counting: "asyncio.Task[None] | None" = None


class Overflow:
    """For one gateway. Workers take interactive jobs in the order in which they come, whoever sends them.

    So while `most` of a tenant wait for a worker, its next ones become bulk work; 0: none do. Jobs are counted in
    Postgres, for all gateways together, and only of a tenant that sends many: nobody else waits for a count.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most
        self._tenants: dict[str, _Tenant] = {}

    @asynccontextmanager
    async def lane(self, tenant: str, wished: Lane) -> AsyncIterator[Lane]:
        """The lane of a job that is stored meanwhile. Raises `DependencyUnavailable` when Postgres is away."""
        if wished is not Lane.INTERACTIVE or not self._most:
            yield wished
            return
        its = self._tenants.setdefault(tenant, _Tenant(self._most))
        if not await self._room(tenant, its):
            yield Lane.BULK
            return
        its.left -= 1
        its.under_way += 1
        try:
            yield Lane.INTERACTIVE
        finally:
            its.under_way -= 1

    async def _room(self, tenant: str, its: _Tenant) -> bool:
        while its.left <= 0:
            if time.monotonic() < its.until:
                return False
            if its.counting is None or its.counting.done():
                its.counting = asyncio.create_task(self._count(tenant, its))
            # A client that leaves must not end what others wait for.
            await asyncio.shield(its.counting)
        return True

    async def _count(self, tenant: str, its: _Tenant) -> None:
        async with self._database.connection() as connection:
            waiting = its.under_way + await limits.interactive(connection, tenant, self._most)
        if waiting < self._most:
            its.left = max(self._most - waiting, STEP)
        else:
            its.until = time.monotonic() + HOLDS_S
