"""Dead letters become the JSON that owners see; shapes in `schemas/dead_letters.py`."""

import base64
from typing import Any
from uuid import UUID

import orjson

from gateway.http.rows import Row
from schemas.dead_letters import Source
from schemas.ids import shown


def letter_view(row: Row) -> dict[str, Any]:
    """A letter's row; shape in `schemas/dead_letters.py`."""
    return {
        "id": shown("dead", row["id"]),
        "object": "dead_letter",
        "source": row["source"],
        "reason": row["reason"],
        "error": orjson.loads(row["error"]),
        "job": job_id(row["job_id"]),
        "kind": row["kind"],
        "stage": row["stage"],
        "topic": row["topic"],
        "partition": row["partition"],
        "offset": row["offset"],
        "bytes": row["bytes"],
        "created_at": row["created_at"],
        "requeued_at": row["requeued_at"],
        "requeued_as": job_id(row["requeued_as"]),
    }


def letter_detail(row: Row) -> dict[str, Any]:
    """A letter's row with its payload: JSON of a job, text or base64 of a message."""
    if row["source"] == Source.JOB:
        return {**letter_view(row), "payload": orjson.loads(row["input"]), "encoding": "json"}
    try:
        payload, encoding = row["payload"].decode(), "utf-8"
    except UnicodeDecodeError:
        payload, encoding = base64.b64encode(row["payload"]).decode(), "base64"
    return {**letter_view(row), "payload": payload, "encoding": encoding}


def job_id(id: UUID | None) -> str | None:
    """`job_0199...`, where a letter names a job."""
    return None if id is None else shown("job", id)
