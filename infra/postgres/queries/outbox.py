"""Messages leave the outbox: taken in batches, deleted only when Kafka has them."""

from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# For a transaction that commits after Kafka's acknowledgement: if a relay dies in between, the rows stay; SKIP LOCKED
# lets relays work side by side. Deleting while reading saves a second statement.
# The batch is a CTE of its own: a planner that believes the outbox to be tiny might run a subquery once per row, and so
# take everything there is; and the ids come as an array, or it might read everything once for each.
# The commit does not wait for the disk: if a crash of Postgres undoes a deletion, the message is repeated, which is
# harmless. Waiting would delay the commits of submissions and claims, which must wait.
TAKE: Final = """
WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true) AS setting), taken AS MATERIALIZED (
    SELECT outbox.id FROM outbox, relaxed WHERE relaxed.setting = 'off'
    ORDER BY outbox.id LIMIT $1 FOR UPDATE OF outbox SKIP LOCKED
)
DELETE FROM outbox WHERE id = ANY(array(SELECT id FROM taken))
RETURNING job_id, kind, stage, lane, model, epoch, traceparent
"""

# Whether messages wait, and whether jobs are held that may get theirs. An idle relay asks this, at a third of the cost
# of taking nothing in a transaction. The order keeps the planner to the index of queued jobs, and begins at its end,
# with the youngest held job: at its beginning are those that were released, and are not vacuumed yet.
ANYTHING: Final = """
SELECT EXISTS (SELECT FROM outbox) AS messages,
    coalesce((SELECT summoned_at IS NULL FROM job WHERE state = 'queued' ORDER BY summoned_at DESC LIMIT 1), false)
        AS held
"""

# How many messages wait in the outbox, and for how many seconds the oldest has.
BACKLOG: Final = """
SELECT count(*) AS messages, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS age_s FROM outbox
"""


async def take(connection: "Connection", limit: int) -> list[asyncpg.Record]:
    """The oldest messages; they are gone for good when the caller's transaction commits."""
    return await connection.fetch(TAKE, limit)


async def anything(connection: "Connection") -> tuple[bool, bool]:
    """Whether a message waits, and whether a job is held."""
    row = await connection.fetchrow(ANYTHING)
    assert row is not None
    return row["messages"], row["held"]


async def backlog(connection: "Connection") -> asyncpg.Record:
    """`messages` waiting and `age_s` of the oldest."""
    row = await connection.fetchrow(BACKLOG)
    assert row is not None
    return row
