"""The connection pool and the unit of work: the only places where connections are taken and commits happen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg

from infra.patience import patiently
from infra.settings import PostgresSettings
from schemas.errors import DependencyUnavailable

if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

AWAY: Final = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a statement met a connection that was being closed
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What asyncpg raises when Postgres is away, starting, stopping, full, or a standby."""


async def _keep_session(connection: object) -> None:
    """Replaces asyncpg's reset: no statement here leaves session state, so a release needs no round trip."""


class Database:
    """A pool of connections. Any failure to reach Postgres is raised as `DependencyUnavailable`."""

    def __init__(self, settings: PostgresSettings, *, application: str) -> None:
        self._settings = settings
        self._application = application
        self._pool: Pool | None = None
        self.opened = asyncio.Event()
        """Set when the pool was made: until then nothing can be asked."""

    async def open(self) -> None:
        """Create the pool. Raises `DependencyUnavailable` when Postgres does not answer."""
        try:
            self._pool = await asyncpg.create_pool(
                self._settings.url.get_secret_value(),
                min_size=1,
                max_size=self._settings.pool_size,
                reset=_keep_session,
                timeout=5,
                command_timeout=self._settings.statement_timeout.total_seconds(),
                server_settings={
                    "application_name": self._application,
                    # A session whose client has vanished must not keep row locks.
                    "idle_in_transaction_session_timeout": "60000",
                    # A session keeps its plans. One that was made while a table was nearly empty would read all of it,
                    # however many rows have come since, until it is analyzed. An index is right for every size.
                    # Statements that join `job` to given ids name these in an array as well, or the planner might
                    # read the index from end to end.
                    "enable_seqscan": "off",
                    "jit": "off",  # statements are short, so compiling costs more than it saves
                },
            )
        except AWAY as error:
            raise DependencyUnavailable(f"Postgres does not answer: {error}") from error
        self.opened.set()

    async def open_patiently(self) -> None:
        """Keep trying to open the pool, with a log line for each failure, until Postgres answers."""
        await patiently(self.open, event="postgres.away")

    async def close(self) -> None:
        """Close every connection; those still in use after 5 seconds are cut off."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 5)
            except TimeoutError:
                self._pool.terminate()
            self._pool = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        """A connection in autocommit mode: each statement is its own unit of work."""
        if self._pool is None:
            raise DependencyUnavailable("Postgres: the pool is not open")
        try:
            async with self._pool.acquire(timeout=10) as connection:
                yield connection
        except AWAY as error:
            raise DependencyUnavailable(f"Postgres does not answer: {error or type(error).__name__}") from error

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator["Connection"]:
        """A connection in one transaction: commits when the block ends, rolls back when it raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def check(self) -> None:
        """Raise `DependencyUnavailable` unless Postgres answers."""
        async with self.connection() as connection:
            await connection.fetchval("SELECT 1")
