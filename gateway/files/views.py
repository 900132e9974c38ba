"""Rows of files become the JSON that owners see; shapes in `schemas/files.py`."""

from collections.abc import Sequence
from typing import Any

from gateway.http.rows import Row
from schemas.ids import shown


def file_view(row: Row) -> dict[str, Any]:
    """A file's row."""
    expires_at = row["expires_at"]
    return {
        "id": shown("file", row["id"]),
        "object": "file",
        "filename": row["filename"],
        "purpose": row["purpose"],
        "bytes": row["bytes"],
        "sha256": row["sha256"],
        "created_at": int(row["created_at"].timestamp()),
        "expires_at": None if expires_at is None else int(expires_at.timestamp()),
        "status": "processed",
    }


def file_page(rows: Sequence[Row], limit: int) -> dict[str, Any]:
    """A page of a list, from a query for one row more than `limit`."""
    data = [file_view(row) for row in rows[:limit]]
    return {
        "object": "list",
        "data": data,
        "has_more": len(rows) > limit,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }
