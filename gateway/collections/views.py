"""Rows of collections become the JSON that owners see; shapes in `schemas/collections.py`."""

from typing import Any

import orjson

from gateway.http.rows import Row
from schemas.ids import shown


def collection_summary(row: Row) -> dict[str, Any]:
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
        "generation": row["generation"],
        "doubt": row["doubt"],
        "rebuild": _rebuild(row),
        "created_at": row["created_at"],
    }


def collection_view(row: Row) -> dict[str, Any]:
    """The same with settings and fields."""
    view = collection_summary(row)
    if view["rebuild"] is not None:
        view["rebuild"]["settings"] = orjson.loads(row["building_settings"])
    return {**view, "settings": orjson.loads(row["settings"]), "fields": sorted(row["fields"])}


def _rebuild(row: Row) -> dict[str, Any] | None:
    if row["building_job"] is None:
        return None
    job = shown("job", row["building_job"])
    return {"job": job, "links": {"job": f"/v1/jobs/{job}"}}
