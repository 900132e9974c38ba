"""Rows of jobs and events become the JSON that owners see; shapes in `schemas/jobs.py`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from gateway.http.rows import Row
from infra.postgres.queries.submit import Made, NewJob
from schemas.ids import shown
from schemas.jobs import JobView
from schemas.kinds.registry import KINDS
from schemas.lifecycle import JobState
from schemas.steering import SteeringView


def job_view(row: Row, children: Mapping[str, int] | None) -> dict[str, Any]:
    """A job's row, with the counts of its children by state."""
    done, total = row["progress_done"], row["progress_total"]
    counts = None
    if children:
        counts = {"total": sum(children.values()), **{state.value: children.get(state, 0) for state in JobState}}
        if row["waiting"]:
            done, total = counts["total"] - sum(children.get(s, 0) for s in _LIVE), counts["total"]
    made = {
        "id": shown("job", row["id"]),
        "object": "job",
        "alias": None if row["alias"] is None else {"name": row["alias"], "model": row["alias_model"]},
        "progress": {"done": done, "total": total, "message": row["progress_message"]},
        "result": _loads(row["result"]),
        "error": _loads(row["error"]),
        "metadata": _loads(row["metadata"]),
        "webhook": _receiver(row["webhook"]),
        "parent": None if row["parent"] is None else shown("job", row["parent"]),
        "children": counts,
        "steering": _steering(row),
        "links": _links(row["id"]),
    }
    return {name: made[name] if name in made else row[name] for name in _FIELDS}


_FIELDS: Final = tuple(JobView.model_fields)
"""In their order. One that `job_view` does not make is the column of its name."""

_LIVE = (JobState.QUEUED, JobState.RUNNING, JobState.RETRY_WAIT)


def fresh_view(job: NewJob, made: Made) -> dict[str, Any]:
    """A job that was just made, without reading it back."""
    return job_view(_Fresh(job, made), None)


class _Fresh:
    """The row of a new job, as it would be read back: the given values, and the initial values of the rest."""

    BLANK: Final = {
        "state": JobState.QUEUED.value,
        "attempt": 0,
        "waiting": False,
        "progress_done": 0,
        "progress_total": 0,
        "weight": 1,
        **dict.fromkeys(("progress_message", "result", "error", "started_at", "finished_at")),
        **dict.fromkeys(("paused_at", "at_once", "deadline")),
    }

    def __init__(self, job: NewJob, made: Made) -> None:
        self._job = job
        self._made = made

    def __getitem__(self, column: str, /) -> Any:
        if column in self.BLANK:
            return self.BLANK[column]
        return getattr(self._made if column in ("created_at", "expires_at") else self._job, column)


def event_view(job_id: UUID, id: int, type: str, at: datetime, data: Any) -> dict[str, Any]:
    """An event of a job's history."""
    return {"id": id, "job": shown("job", job_id), "type": type, "at": at, "data": data}


def _steering(row: Row) -> dict[str, Any] | None:
    kind = KINDS.get(row["kind"])
    if kind is None or not kind.pauses:
        return None
    return {name: row[name] for name in SteeringView.model_fields}


def _links(job_id: UUID) -> dict[str, str]:
    here = f"/v1/jobs/{shown('job', job_id)}"
    return {"self": here, "events": f"{here}/events", "result": f"{here}/result", "cancel": f"{here}/cancel"}


def _receiver(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    kept = orjson.loads(text)
    return {"url": kept["url"], "events": kept["events"]}


def _loads(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
