"""Claims webhook deliveries, a few per destination at a time, and records their results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from schemas.webhooks import DeliveryState

if TYPE_CHECKING:
    from infra.postgres.database import Connection

FAILING_DAYS: Final = 5
"""An endpoint that was tried and accepted nothing for this many days is disabled."""

# The destinations with anything pending, each with its first due delivery. A loose index scan: one descent of the index
# webhook_delivery_pending per destination, however many deliveries wait behind it.
# https://wiki.postgresql.org/wiki/Loose_indexscan
_HEADS: Final = """RECURSIVE head AS (
    (SELECT destination, due_at, endpoint FROM webhook_delivery
     WHERE state = 'pending' ORDER BY destination, due_at LIMIT 1)
    UNION ALL
    SELECT next.destination, next.due_at, next.endpoint FROM head CROSS JOIN LATERAL (
        SELECT destination, due_at, endpoint FROM webhook_delivery
        WHERE state = 'pending' AND destination > head.destination ORDER BY destination, due_at LIMIT 1) next
)"""

# The seconds until something is due for a destination that is not in $1 and whose endpoint is enabled.
NEXT_DUE: Final = f"""
WITH {_HEADS}
SELECT extract(epoch FROM min(head.due_at) - now())::float8
FROM head LEFT JOIN webhook_endpoint e ON e.id = head.endpoint
WHERE head.destination <> ALL($1::text[]) AND e.disabled_at IS NULL
"""

# Due deliveries, at most $4: of each destination as many as there is room for, which is $3 unless $1 and $2 give
# another number. The first delivery of every idle destination comes first, then the second ones, so that a destination
# with much waiting delays nobody. Claiming counts the attempt and moves the delivery out of the way for $5 seconds, a
# lease: if nothing is recorded by then, the deliverer is dead and the delivery is due again, under the same id. Chosen
# rows are not locked before the choice is made. A deliverer that chose the same ones meanwhile has moved or locked
# them, which the last check finds.
CLAIM: Final = f"""
WITH {_HEADS}, given AS (
    SELECT * FROM unnest($1::text[], $2::int[]) AS g(destination, room)
), open AS (
    SELECT head.destination, coalesce(given.room, $3::int) AS room
    FROM head LEFT JOIN given ON given.destination = head.destination
    LEFT JOIN webhook_endpoint e ON e.id = head.endpoint
    WHERE head.due_at <= now() AND coalesce(given.room, $3::int) > 0 AND e.disabled_at IS NULL
), chosen AS (
    SELECT due.id FROM open CROSS JOIN LATERAL (
        SELECT d.id, d.due_at, row_number() OVER (ORDER BY d.due_at) AS place FROM (
            SELECT id, due_at FROM webhook_delivery
            WHERE state = 'pending' AND destination = open.destination AND due_at <= now()
            ORDER BY due_at LIMIT open.room) d
    ) due
    ORDER BY $3::int - open.room + due.place, due.due_at LIMIT $4
), taken AS (
    SELECT id FROM webhook_delivery
    WHERE id = ANY(ARRAY(SELECT id FROM chosen)) AND state = 'pending' AND due_at <= now()
    FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE webhook_delivery SET attempts = attempts + 1, due_at = now() + make_interval(secs => $5)
    WHERE id = ANY(ARRAY(SELECT id FROM taken))
    RETURNING id, tenant, endpoint, url, destination, type, data, attempts, created_at, due_at
)
SELECT moved.id, moved.destination, coalesce(moved.url, e.url) AS url, moved.type, moved.data::text AS data,
    moved.attempts, moved.created_at, moved.due_at AS lease_until,
    CASE WHEN moved.endpoint IS NULL THEN t.webhook_secret ELSE e.secret END AS secret,
    CASE WHEN moved.endpoint IS NOT NULL AND e.previous_until > now() THEN e.previous_secret
         WHEN moved.endpoint IS NULL AND t.webhook_previous_until > now() THEN t.webhook_previous_secret
    END AS previous_secret
FROM moved LEFT JOIN webhook_endpoint e ON e.id = moved.endpoint
LEFT JOIN tenant t ON t.id = moved.tenant AND moved.endpoint IS NULL
"""

# How attempts went, and the new state of their deliveries. The lease is the fence: a result that is recorded after the
# delivery was claimed again, replayed or ended changes nothing, but is logged. Numbers in the log continue when a
# replay starts counting attempts anew. $9 is the length of the lease, from which the log tells when the attempt began.
# Endpoints are locked first, because removing one locks it before its deliveries, and so must we. `gone` disables an
# endpoint at once; one that has failed for days becomes `failing`; a success forgives.
RECORD: Final = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::float8[], $5::int[], $6::text[], $7::text[],
                         $8::int[]) AS g(id, lease_until, state, retry_in_s, status, error, answer, ms)
), held AS MATERIALIZED (
    SELECT id FROM webhook_endpoint
    WHERE id = ANY(ARRAY(SELECT endpoint FROM webhook_delivery WHERE id = ANY($1) AND endpoint IS NOT NULL))
    ORDER BY id FOR KEY SHARE
), known AS MATERIALIZED (
    SELECT id FROM webhook_delivery
    WHERE id = ANY($1) AND (SELECT count(*) FROM held) >= 0 ORDER BY id FOR UPDATE
), moved AS (
    UPDATE webhook_delivery d SET
        state = given.state,
        due_at = CASE WHEN given.state = 'pending' THEN now() + make_interval(secs => given.retry_in_s)
                      ELSE d.due_at END,
        ended_at = CASE WHEN given.state <> 'pending' THEN now() END
    FROM given JOIN known ON known.id = given.id
    WHERE d.id = ANY($1) AND d.id = given.id AND d.due_at = given.lease_until AND coalesce(d.state, '') = 'pending'
    RETURNING d.id, given.lease_until, d.endpoint, given.state, given.status
), logged AS (
    INSERT INTO webhook_attempt (delivery, attempt, at, status, error, answer, ms)
    SELECT given.id,
        1 + (SELECT coalesce(max(a.attempt), 0) FROM webhook_attempt a WHERE a.delivery = given.id),
        given.lease_until - make_interval(secs => $9), given.status, given.error, given.answer, given.ms
    FROM given JOIN known ON known.id = given.id
    ON CONFLICT DO NOTHING
), told AS (
    SELECT endpoint, bool_or(state = 'delivered') AS took, coalesce(bool_or(status = 410), false) AS gone
    FROM moved WHERE endpoint IS NOT NULL GROUP BY endpoint
), marked AS (
    UPDATE webhook_endpoint e SET
        failing_since = CASE WHEN told.took THEN NULL ELSE coalesce(e.failing_since, now()) END,
        disabled_at = CASE WHEN told.gone OR NOT told.took AND e.failing_since < now() - interval '{FAILING_DAYS} days'
                           THEN now() END,
        disabled_reason = CASE WHEN told.gone THEN 'gone'
            WHEN NOT told.took AND e.failing_since < now() - interval '{FAILING_DAYS} days' THEN 'failing' END
    FROM told
    WHERE e.id = told.endpoint AND e.disabled_at IS NULL AND (told.gone OR CASE WHEN told.took
        THEN e.failing_since IS NOT NULL
        ELSE e.failing_since IS NULL OR e.failing_since < now() - interval '{FAILING_DAYS} days' END)
    RETURNING e.id, e.disabled_reason
)
SELECT given.id, given.lease_until, moved.id IS NOT NULL AS counted, marked.disabled_reason
FROM given LEFT JOIN moved ON moved.id = given.id AND moved.lease_until = given.lease_until
LEFT JOIN marked ON marked.id = moved.endpoint
"""

# Deliveries for an endpoint that was disabled for its failures, a page at a time; they will never be sent. Those for
# an endpoint that its owner disabled are kept.
END_DISABLED: Final = """
WITH hopeless AS (
    SELECT waiting.id FROM webhook_endpoint e CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_delivery d WHERE d.state = 'pending' AND d.destination = e.id::text
        ORDER BY d.due_at LIMIT $1 FOR UPDATE SKIP LOCKED) waiting
    WHERE e.disabled_reason IN ('gone', 'failing') LIMIT $1
)
UPDATE webhook_delivery SET state = 'failed', ended_at = now()
WHERE id = ANY(ARRAY(SELECT id FROM hopeless)) RETURNING 1
"""

# How many wait, counted up to $1; above that the exact number does not matter.
PENDING: Final = "SELECT count(*) FROM (SELECT 1 FROM webhook_delivery WHERE state = 'pending' LIMIT $1) AS pending"


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt went. `state` is the delivery's new state; if `pending`, the next try is in `retry_in_s` s."""

    id: UUID
    lease_until: datetime
    state: DeliveryState
    retry_in_s: float
    status: int | None
    error: str | None
    answer: str | None
    ms: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """`counted`: the attempt was this deliverer's to record. `disabled`: why its endpoint was disabled just now."""

    counted: bool
    disabled: str | None


async def next_due(connection: "Connection", *, without: Sequence[str]) -> float | None:
    """Seconds until a delivery is due, negative when overdue; None when none waits, ignoring destinations `without`."""
    seconds: float | None = await connection.fetchval(NEXT_DUE, list(without))
    return seconds


async def claim(
    connection: "Connection", *, rooms: Mapping[str, int], room: int, limit: int, lease_s: float
) -> list[asyncpg.Record]:
    """Claim due deliveries, at most `limit`: `room` of each destination, or as many as `rooms` says."""
    return await connection.fetch(CLAIM, list(rooms), list(rooms.values()), room, limit, lease_s)


async def record(connection: "Connection", attempts: Sequence[Attempt], *, lease_s: float) -> list[Recorded]:
    """Record attempts, with the lease under which they were claimed; returns what became of each, in order."""
    rows = await connection.fetch(
        RECORD,
        [a.id for a in attempts],
        [a.lease_until for a in attempts],
        [a.state.value for a in attempts],
        [a.retry_in_s for a in attempts],
        [a.status for a in attempts],
        [a.error for a in attempts],
        [a.answer for a in attempts],
        [a.ms for a in attempts],
        lease_s,
    )
    found = {(row["id"], row["lease_until"]): Recorded(row["counted"], row["disabled_reason"]) for row in rows}
    return [found[a.id, a.lease_until] for a in attempts]


async def end_disabled(connection: "Connection", limit: int) -> int:
    """Fail deliveries for endpoints that are gone or failing, at most `limit`; returns how many."""
    return len(await connection.fetch(END_DISABLED, limit))


async def pending(connection: "Connection", limit: int) -> int:
    """How many deliveries wait, counted up to `limit`."""
    count: int = await connection.fetchval(PENDING, limit)
    return count
