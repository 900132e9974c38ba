"""Rows of webhooks become the JSON that owners see; shapes in `schemas/webhooks.py`."""

from collections.abc import Iterable
from typing import Any

import orjson

from gateway.http.rows import Row
from schemas.ids import shown
from schemas.webhooks import DeliveryState


def endpoint_view(row: Row) -> dict[str, Any]:
    """An endpoint's row, without any secret."""
    return {
        "id": shown("wh", row["id"]),
        "object": "webhook_endpoint",
        "url": row["url"],
        "description": row["description"],
        "events": row["events"],
        "enabled": row["disabled_at"] is None,
        "disabled_at": row["disabled_at"],
        "disabled_reason": row["disabled_reason"],
        "failing_since": row["failing_since"],
        "previous_until": row["previous_until"],
        "created_at": row["created_at"],
    }


def delivery_view(row: Row) -> dict[str, Any]:
    """A delivery's row, with the address of its endpoint."""
    return {
        "id": shown("evt", row["id"]),
        "object": "webhook_delivery",
        "type": row["type"],
        "state": row["state"],
        "endpoint": None if row["endpoint"] is None else shown("wh", row["endpoint"]),
        "url": row["url"],
        "job": None if row["job_id"] is None else shown("job", row["job_id"]),
        "attempts": row["attempts"],
        "due_at": row["due_at"] if row["state"] == DeliveryState.PENDING else None,
        "created_at": row["created_at"],
        "ended_at": row["ended_at"],
        "data": orjson.loads(row["data"]),
    }


def delivery_log(row: Row, attempts: Iterable[Row]) -> dict[str, Any]:
    """A delivery with its attempts."""
    names = ("attempt", "at", "status", "error", "answer", "ms")
    return {**delivery_view(row), "log": [{name: attempt[name] for name in names} for attempt in attempts]}
