"""Replies of judges by what they were asked, and what each evaluation has paid for its own."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Replies that were given before. Their use is recorded once a day, as that of cached vectors.
FIND: Final = """
WITH found AS MATERIALIZED (
    SELECT key, reply, used_at FROM judgement WHERE key = ANY($1::bytea[])
), stale AS (
    SELECT j.key FROM judgement j JOIN found f ON j.key = f.key
    WHERE f.used_at < now() - interval '1 day' FOR UPDATE OF j SKIP LOCKED
), used AS (
    UPDATE judgement j SET used_at = now() FROM stale WHERE j.key = stale.key
)
SELECT key, reply FROM found
"""

# The reply, unless it is unusable (null), and its cost, in one commit: what is kept is paid for exactly once.
KEEP: Final = """
WITH kept AS (
    INSERT INTO judgement (key, reply) SELECT $2::bytea, $3::text WHERE $3::text IS NOT NULL ON CONFLICT DO NOTHING
)
INSERT INTO judgement_cost AS c (job_id, tokens, cost) VALUES ($1, $4, $5)
ON CONFLICT (job_id) DO UPDATE SET tokens = c.tokens + excluded.tokens, cost = c.cost + excluded.cost
RETURNING tokens, cost
"""

COST: Final = "SELECT tokens, cost FROM judgement_cost WHERE job_id = $1"

# Some of the replies that have not been used for this long.
REMOVE_UNUSED: Final = """
DELETE FROM judgement j USING (
    SELECT key FROM judgement WHERE used_at < now() - $1::interval ORDER BY used_at LIMIT $2 FOR UPDATE SKIP LOCKED
) unused WHERE j.key = unused.key
"""


async def find(connection: "Connection", keys: Sequence[bytes]) -> dict[bytes, str]:
    """The replies that are kept under these keys."""
    return {row["key"]: row["reply"] for row in await connection.fetch(FIND, keys)}


async def keep(
    connection: "Connection", job_id: UUID, key: bytes, reply: str | None, tokens: int, cost: float
) -> asyncpg.Record:
    """Record a reply and its cost; `tokens` and `cost` of the evaluation up to now."""
    row = await connection.fetchrow(KEEP, job_id, key, reply, tokens, cost)
    assert row is not None  # the statement always returns its row
    return row


async def cost(connection: "Connection", job_id: UUID) -> asyncpg.Record | None:
    """`tokens` and `cost` of the evaluation up to now; None before its first call."""
    return await connection.fetchrow(COST, job_id)


async def remove_unused(connection: "Connection", age: timedelta, limit: int) -> int:
    """Remove replies that have not been used for `age`, at most `limit`; returns how many."""
    return int((await connection.execute(REMOVE_UNUSED, age, limit)).removeprefix("DELETE "))
