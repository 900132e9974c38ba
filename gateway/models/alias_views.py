"""Rows of aliases and of their ledger become the JSON that clients see; shapes in `schemas/aliases.py`."""

from typing import Any

import orjson

from gateway.http.rows import Row
from schemas.aliases import Alias
from schemas.ids import shown


def alias_view(found: Alias) -> dict[str, Any]:
    """An alias and what it points to."""
    canary = None
    if found.canary_model is not None:
        canary = {"model": found.canary_model, "share": found.canary_share, "since": found.canary_since}
    return {
        "id": found.name,
        "object": "model.alias",
        "model": found.model,
        "canary": canary,
        "created_at": found.created_at,
        "changed_at": found.changed_at,
    }


def entry_view(row: Row) -> dict[str, Any]:
    """A step of an alias."""
    told = ("alias", "action", "model", "previous", "canary", "share", "by", "reason", "forced", "evaluation")
    return {
        "id": shown("promotion", row["id"]),
        "object": "model.promotion",
        **{name: row[name] for name in told},
        "evidence": None if row["evidence"] is None else orjson.loads(row["evidence"]),
        "created_at": row["created_at"],
    }


def moved_view(found: Alias, row: Row) -> dict[str, Any]:
    """An alias after a step, and the step."""
    return {**alias_view(found), "entry": entry_view(row)}
