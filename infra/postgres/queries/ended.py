"""What follows from a job's end, in the statement that ends it: deliveries, a dead letter, garbage blobs."""

from collections.abc import Mapping
from typing import Final

from schemas.kinds.kind import Kind
from schemas.kinds.registry import KINDS

SWEPT_AFTER: Final = "interval '3 seconds'"
"""Longer than a worker takes to hear that its job was cancelled."""
SWEPT_AGAIN_AFTER: Final = "interval '5 minutes'"
"""Longer than a lease: a worker that lost its job may write until it hears of it."""


def follows(kinds: Mapping[str, Kind]) -> str:
    """Common table expressions to put behind one named `moved`, which gives for each job that may have ended: `id,
    tenant, kind, stage, state, epoch, parent, webhook, error`, `code` (of the error, or null) and `dead` (whether it
    ran out of attempts).

    `code` comes from outside the JSON: Postgres cannot look into a JSON text in which someone's input put a NUL.
    """
    return f"""
hooked AS (
    INSERT INTO webhook_delivery (tenant, endpoint, url, destination, job_id, type, data)
    SELECT moved.tenant, receiver.endpoint, receiver.url, receiver.destination, moved.id, event.type, json_build_object(
        'id', {_noun(kinds)} || '_' || replace(moved.id::text, '-', ''), 'kind', moved.kind, 'state', moved.state,
        'error', CASE WHEN moved.code IS NOT NULL THEN json_build_object('code', moved.code) END)
    FROM moved
    CROSS JOIN LATERAL (
        SELECT {_noun(kinds)} || '.' || {_end(kinds)} AS type) event
    CROSS JOIN LATERAL (
        SELECT e.id AS endpoint, NULL AS url, e.id::text AS destination FROM webhook_endpoint e
        WHERE e.tenant = moved.tenant AND e.disabled_at IS NULL AND event.type = ANY(e.events)
        UNION ALL
        SELECT NULL, moved.webhook->>'url', moved.webhook->>'origin' WHERE moved.webhook->'events' ? event.type
    ) receiver
    WHERE moved.parent IS NULL AND moved.state IN ('succeeded', 'failed', 'cancelled')
), buried AS (
    INSERT INTO dead_letter (source, tenant, job_id, kind, stage, reason, error)
    SELECT 'job', tenant, id, kind, stage, code, error FROM moved WHERE state = 'failed' AND dead
), unfinished AS (
    SELECT id, tenant || '/jobs/' || replace(id::text, '-', '') AS folder FROM moved
    WHERE state IN ('failed', 'cancelled') AND epoch > 0
), emptied AS (
    INSERT INTO blob_garbage (blob, due_at, again_at)
    SELECT folder, now() + {SWEPT_AFTER}, now() + {SWEPT_AGAIN_AFTER} FROM unfinished
    ON CONFLICT (blob) DO UPDATE SET due_at = excluded.due_at, again_at = excluded.again_at
), unexpected AS (
    UPDATE blob_garbage g SET due_at = now() + {SWEPT_AFTER}, again_at = now() + {SWEPT_AGAIN_AFTER}
    FROM unfinished WHERE g.job_id = unfinished.id
)
"""


def _end(kinds: Mapping[str, Kind]) -> str:
    """What events call the end of a job: by its kind, then by the code of its error, then by its state."""
    cases = "".join(
        f" WHEN moved.kind = '{name}' AND '{key}' IN (moved.code, moved.state) THEN '{said}'"
        for kind in kinds.values()
        for name in (kind.name, *kind.aliases)
        for key, said in kind.ends.items()
    )
    return f"CASE{cases} ELSE moved.state END" if cases else "moved.state"


def _noun(kinds: Mapping[str, Kind]) -> str:
    """What events call a job, and what its id begins with, by its kind.

    Names and nouns are of the registry, and hold no quotation mark.
    """
    other = {name: kind.noun for kind in kinds.values() for name in (kind.name, *kind.aliases) if kind.noun != "job"}
    cases = "".join(f" WHEN '{name}' THEN '{noun}'" for name, noun in other.items())
    return f"CASE moved.kind{cases} ELSE 'job' END" if cases else "'job'"


FOLLOWS: Final = follows(KINDS)
"""Of the kinds there are."""
