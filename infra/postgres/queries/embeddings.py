"""Cached vectors, by model and hash of the text, so that no text is embedded twice."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# The cached vectors. Their use is recorded once a day, because a write per lookup would cost more than the lookup.
FIND: Final = """
WITH found AS MATERIALIZED (
    SELECT hash, dense, learned, used_at FROM embedding WHERE model = $1 AND hash = ANY($2::bytea[])
), stale AS (
    SELECT e.hash FROM embedding e JOIN found f ON e.model = $1 AND e.hash = f.hash
    WHERE f.used_at < now() - interval '1 day' ORDER BY e.hash FOR UPDATE OF e SKIP LOCKED
), used AS (
    UPDATE embedding e SET used_at = now() FROM stale WHERE e.model = $1 AND e.hash = stale.hash
)
SELECT hash, dense, learned FROM found
"""

# In the order of their hashes, so that two writers of the same vectors cannot deadlock.
KEEP: Final = """
INSERT INTO embedding (model, hash, dense, learned)
SELECT $1, hash, dense, learned FROM unnest($2::bytea[], $3::bytea[], $4::bytea[]) AS made(hash, dense, learned)
ORDER BY hash
ON CONFLICT DO NOTHING
"""

# Some of the vectors that have not been used for this long.
REMOVE_UNUSED: Final = """
DELETE FROM embedding e USING (
    SELECT model, hash FROM embedding WHERE used_at < now() - $1::interval
    ORDER BY used_at LIMIT $2 FOR UPDATE SKIP LOCKED
) unused WHERE e.model = unused.model AND e.hash = unused.hash
"""


async def find(connection: "Connection", model: str, hashes: Sequence[bytes]) -> list[asyncpg.Record]:
    """`hash`, `dense`, `learned` of the cached vectors."""
    return await connection.fetch(FIND, model, hashes)


async def keep(connection: "Connection", model: str, rows: Sequence[tuple[bytes, bytes, bytes | None]]) -> None:
    """Insert `(hash, dense, learned)`; existing ones stay unchanged."""
    await connection.execute(KEEP, model, *(list(column) for column in zip(*rows, strict=True)))


async def remove_unused(connection: "Connection", age: timedelta, limit: int) -> int:
    """Remove vectors that have not been used for `age`, at most `limit`; returns how many."""
    return int((await connection.execute(REMOVE_UNUSED, age, limit)).removeprefix("DELETE "))
