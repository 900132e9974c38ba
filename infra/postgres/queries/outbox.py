"""Messages leave: taken in batches, deleted only when Kafka has them."""

from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Inside a transaction that commits after Kafka's acknowledgement: a relay that dies in between leaves the rows, and
# SKIP LOCKED lets relays work side by side. Deleting while reading saves a second statement.
# The batch is chosen by itself: as a subquery a planner that believes the outbox to be tiny may run it once for each
# row, and so take everything there is.
# The commit does not wait for the disk: a deletion that a crash of Postgres undoes repeats a message, which is
# harmless, and waiting would delay the commits of submissions and claims, which must wait.
TAKE: Final = """
WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true) AS setting), taken AS MATERIALIZED (
    SELECT outbox.id FROM outbox, relaxed WHERE relaxed.setting = 'off'
    ORDER BY outbox.id LIMIT $1 FOR UPDATE OF outbox SKIP LOCKED
)
DELETE FROM outbox USING taken WHERE outbox.id = taken.id
RETURNING job_id, kind, stage, lane, epoch, traceparent
"""

# Whether anything waits: what an idle relay asks, for a third of what taking nothing in a transaction costs.
ANYTHING: Final = "SELECT EXISTS (SELECT 1 FROM outbox)"

# How much waits in the outbox, and for how many seconds the oldest of it.
BACKLOG: Final = """
SELECT count(*) AS messages, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS age_s FROM outbox
"""


async def take(connection: "Connection", limit: int) -> list[asyncpg.Record]:
    """The oldest messages, gone for good when the caller's transaction commits."""
    return await connection.fetch(TAKE, limit)


async def anything(connection: "Connection") -> bool:
    """Whether a message waits."""
    return bool(await connection.fetchval(ANYTHING))


async def backlog(connection: "Connection") -> asyncpg.Record:
    """`messages` waiting and `age_s` of the oldest."""
    row = await connection.fetchrow(BACKLOG)
    assert row is not None
    return row
