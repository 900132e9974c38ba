"""Rows of collections become the JSON that owners see; shapes in `schemas/jobs.py`."""

from typing import Any
from uuid import UUID

import orjson

from gateway.http.rows import Row
from schemas.ids import shown


def collection_view(row: Row) -> dict[str, Any]:
    """A collection's row with its sums."""
    return {
        "name": row["name"],
        "object": "collection",
        "documents": row["documents"],
        "chunks": row["chunks"],
        "bytes": row["bytes"],
        "encoder": {
            "sparse": row["encoder"],
            "dense": row["embedder"],
            "dimension": row["dimension"],
            "learned": row["learned"],
        },
        "settings": orjson.loads(row["settings"]),
        "generation": row["generation"],
        "rebuild": _rebuild(row["building_job"], row["building_settings"]),
        "fields": sorted(row["fields"]),
        "created_at": row["created_at"],
    }


def _rebuild(job_id: UUID | None, settings: str | None) -> dict[str, Any] | None:
    if job_id is None:
        return None
    job = shown("job", job_id)
    return {
        "job": job,
        "settings": None if settings is None else orjson.loads(settings),
        "links": {"job": f"/v1/jobs/{job}"},
    }
