"""Rows of batches become the JSON that owners see; shapes in `schemas/batches/views.py`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from gateway.http.rows import Row
from schemas.batches.views import BatchStatus
from schemas.batches.window import window
from schemas.ids import shown
from schemas.lifecycle import JobState


def batch_view(job: Row, batch: Row, lines: Mapping[str, int] | None) -> dict[str, Any]:
    """A batch from its job's row, its own, and the counts of its lines by state while there is no result."""
    given = orjson.loads(batch["input"])
    error = None if job["error"] is None else orjson.loads(job["error"])
    result = {} if job["result"] is None else orjson.loads(job["result"])
    status = _status(job, batch, error)
    created, ended = job["created_at"], job["finished_at"]
    return {
        "id": shown("batch", job["id"]),
        "object": "batch",
        "endpoint": given["endpoint"],
        "errors": _errors(error) if status == "failed" and error else None,
        "input_file_id": given["input_file_id"],
        "completion_window": given["completion_window"],
        "status": status,
        "output_file_id": result.get("output_file_id"),
        "error_file_id": result.get("error_file_id"),
        "created_at": _unix(created),
        "in_progress_at": _unix(batch["in_progress_at"]),
        "expires_at": _unix(created + window(given["completion_window"])),
        "finalizing_at": _unix(batch["finalizing_at"]),
        "completed_at": _unix(ended) if status == "completed" else None,
        "failed_at": _unix(ended) if status == "failed" else None,
        "expired_at": _unix(ended) if status == "expired" else None,
        "cancelling_at": _unix(batch["closing_at"]) if batch["closing"] == "cancelled" else None,
        "cancelled_at": _unix(ended) if status == "cancelled" else None,
        "request_counts": result.get("request_counts") or _counts(batch, lines or {}),
        "metadata": orjson.loads(job["metadata"]) or None,
        "retry_of": given.get("retry_of"),
        "paused_at": _unix(job["paused_at"]),
        "weight": job["weight"],
        "at_once": job["at_once"],
        "deadline": _unix(job["deadline"]),
        "job": shown("job", job["id"]),
    }


def batch_page(views: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of a list, from a query for one more than `limit`."""
    data = views[:limit]
    return {
        "object": "list",
        "data": data,
        "has_more": len(views) > limit,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _status(job: Row, batch: Row, error: Mapping[str, Any] | None) -> BatchStatus:
    match job["state"]:
        case JobState.SUCCEEDED:
            return "completed"
        case JobState.CANCELLED:
            return "cancelled"
        case JobState.FAILED:
            return "expired" if error is not None and error["code"] == "expired" else "failed"
    if job["cancel_requested"] or batch["closing"] == "cancelled":
        return "cancelling"
    if job["waiting"]:
        return "in_progress"
    return "finalizing" if job["stage"] == "assemble" else "validating"


def _counts(batch: Row, lines: Mapping[str, int]) -> dict[str, int]:
    failed = lines.get(JobState.FAILED, 0) + lines.get(JobState.CANCELLED, 0)
    return {"total": batch["lines"] or 0, "completed": lines.get(JobState.SUCCEEDED, 0), "failed": failed}


def _errors(error: Mapping[str, Any]) -> dict[str, Any]:
    whole = {"code": error["code"], "line": None, "message": error["message"], "param": error.get("field")}
    return {"object": "list", "data": error.get("lines") or [whole]}


def _unix(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())
