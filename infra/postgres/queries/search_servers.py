"""Where workers answer searches, as they say themselves and gateways read it."""

from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

SILENT_S: Final = 10.0
"""A worker that has not spoken for so long is not asked. One that is gone refuses connections long before."""

# A worker says again that it answers; others that fell silent long ago are forgotten.
ANNOUNCE: Final = """
WITH silent AS (DELETE FROM search_server WHERE seen_at < now() - interval '1 hour' AND worker <> $1)
INSERT INTO search_server (worker, protocol, host, port, token) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (worker) DO UPDATE SET seen_at = now()
"""

WITHDRAW: Final = "DELETE FROM search_server WHERE worker = $1"

# Those of this protocol that live.
FIND: Final = """
SELECT worker, host, port, token FROM search_server
WHERE protocol = $1 AND seen_at > now() - make_interval(secs => $2) ORDER BY worker
"""


async def announce(connection: "Connection", worker: str, protocol: int, host: str, port: int, token: str) -> None:
    """Let gateways find a worker for the next `SILENT_S`."""
    await connection.execute(ANNOUNCE, worker, protocol, host, port, token)


async def withdraw(connection: "Connection", worker: str) -> None:
    """Let no gateway find a worker any more."""
    await connection.execute(WITHDRAW, worker)


async def find(connection: "Connection", protocol: int) -> list[asyncpg.Record]:
    """The workers that answer searches: `worker`, `host`, `port`, `token`."""
    return await connection.fetch(FIND, protocol, SILENT_S)
