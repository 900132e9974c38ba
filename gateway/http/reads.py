"""Lists are read in turns: a tenant that requests many at once delays only itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.http.errors import LimitReached
from infra.postgres.database import Database
from schemas.errors import DependencyUnavailable

if TYPE_CHECKING:
    from infra.postgres.database import Connection

AT_ONCE: Final = 2
"""Lists of one tenant that hold a connection; the pool has 8."""

WAITING_AT_MOST: Final = 100
WITHIN_S: Final = 5.0
"""Waiting for its turn included."""


class TooManyReads(LimitReached):
    """The tenant has the maximum of lists waiting for their turn."""

    code = "too_many_reads"


class ReadTooSlow(DependencyUnavailable):
    """A list was not read in time."""

    code = "read_too_slow"


@dataclass(slots=True)
class _Turns:
    """The turns of one tenant, while it has requests."""

    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    asking: int = 0


class Reads:
    """Gives connections to list queries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns: dict[str, _Turns] = {}

    @asynccontextmanager
    async def connection(self, tenant: str) -> AsyncIterator["Connection"]:
        """A connection in autocommit. Raises `TooManyReads`, `ReadTooSlow` and `DependencyUnavailable`."""
        turns = self._turns.setdefault(tenant, _Turns())
        if turns.asking >= AT_ONCE + WAITING_AT_MOST:
            raise TooManyReads(f"{turns.asking} of your lists are being read or wait: ask for fewer at once")
        turns.asking += 1
        try:
            async with asyncio.timeout(WITHIN_S), turns.free, self._database.connection() as connection:
                yield connection
        except TimeoutError as error:
            raise ReadTooSlow(
                f"the list was not read within {WITHIN_S:g} s: ask for less, or for fewer lists"
            ) from error
        finally:
            turns.asking -= 1
            if not turns.asking:
                self._turns.pop(tenant, None)
