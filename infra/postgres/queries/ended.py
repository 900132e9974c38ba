"""What follows from a job's end, in the statement that ends it: its webhook deliveries and its dead letter."""

from collections.abc import Mapping
from typing import Final

from schemas.kinds.kind import Kind
from schemas.kinds.registry import KINDS


def follows(kinds: Mapping[str, Kind]) -> str:
    """Common table expressions to put behind one named `moved`, which gives for each job that may have ended: `id,
    tenant, kind, stage, state, parent, webhook, error`, `code` (of the error, or null) and `dead` (whether it ran out
    of attempts).

    `code` comes from outside the JSON: Postgres cannot look into a JSON text in which someone's input put a NUL.
    """
    return f"""
hooked AS (
    INSERT INTO webhook_delivery (tenant, endpoint, url, destination, job_id, type, data)
    SELECT moved.tenant, receiver.endpoint, receiver.url, receiver.destination, moved.id, event.type, json_build_object(
        'id', 'job_' || replace(moved.id::text, '-', ''), 'kind', moved.kind, 'state', moved.state,
        'error', CASE WHEN moved.code IS NOT NULL THEN json_build_object('code', moved.code) END)
    FROM moved
    CROSS JOIN LATERAL (
        SELECT {_noun(kinds)} || '.' || moved.state AS type) event
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
)
"""


def _noun(kinds: Mapping[str, Kind]) -> str:
    """What events call a job, by its kind. Names and nouns are of the registry, and hold no quotation mark."""
    other = {name: kind.noun for kind in kinds.values() for name in (kind.name, *kind.aliases) if kind.noun != "job"}
    cases = "".join(f" WHEN '{name}' THEN '{noun}'" for name, noun in other.items())
    return f"CASE moved.kind{cases} ELSE 'job' END" if cases else "'job'"


FOLLOWS: Final = follows(KINDS)
"""Of the kinds there are."""
