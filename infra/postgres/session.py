"""One session with Postgres for a command that reads or writes the server's database and ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

T = TypeVar("T")


def in_session(dsn: str, work: Callable[["Connection"], Awaitable[T]]) -> T:
    """What `work` returns, given a connection. Blocking. Raises `OSError` when Postgres does not answer."""

    async def session() -> T:
        connection: Any = await asyncpg.connect(dsn, timeout=5)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(session())
