"""Rows of files become the JSON that owners see; shapes in `schemas/jobs.py`."""

from typing import Any

from gateway.http.rows import Row
from schemas.ids import shown


def file_view(row: Row) -> dict[str, Any]:
    """A file's row."""
    return {
        "id": shown("file", row["id"]),
        "object": "file",
        "filename": row["filename"],
        "purpose": row["purpose"],
        "bytes": row["bytes"],
        "sha256": row["sha256"],
        "created_at": row["created_at"],
    }
