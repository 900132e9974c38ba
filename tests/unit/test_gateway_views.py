"""Rows become what owners see, in the shapes that the schema promises."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from gateway.collections.views import collection_view
from gateway.files.views import file_view
from gateway.jobs.views import event_view, fresh_view, job_view
from infra.postgres.queries.submit import Made, NewJob
from schemas.collections import CollectionSettings, CollectionView
from schemas.files import FileView
from schemas.ids import parsed, shown
from schemas.jobs import JobView
from schemas.lifecycle import JobState

ID = UUID("0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000")
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROW: dict[str, Any] = dict.fromkeys(JobView.model_fields) | {
    "id": ID,
    "kind": "noop",
    "state": "running",
    "lane": "bulk",
    "alias_model": None,
    "stage": "run",
    "attempt": 2,
    "max_attempts": 5,
    "progress_done": 1,
    "progress_total": 4,
    "progress_message": "읽는 중",
    "metadata": '{"k": "v"}',
    "waiting": False,
    "created_at": AT,
    "started_at": AT,
}


def fresh(**given: Any) -> NewJob:
    required = {"id": ID, "tenant": "t", "kind": "noop", "stage": "run", "lane": "bulk", "input": "{}"}
    return NewJob(**required, max_attempts=5, **given)  # type: ignore[arg-type]


def holds(model: type[BaseModel], view: dict[str, Any]) -> None:
    """The view has exactly the model's fields."""
    model.model_validate(view)
    assert set(view) == set(model.model_fields)


def test_a_job_is_shown_whole() -> None:
    view = job_view(ROW, None)
    holds(JobView, view)
    assert view["id"] == "job_0199aaaabbbb7ccc8dddeeeeffff0000"
    assert view["progress"] == {"done": 1, "total": 4, "message": "읽는 중"}
    assert view["metadata"] == {"k": "v"}
    assert view["links"]["events"] == f"/v1/jobs/{view['id']}/events"
    assert view["children"] is None


def test_result_error_and_parent_are_json_and_an_id() -> None:
    error = '{"code": "timeout", "message": "too long", "retryable": true}'
    view = job_view({**ROW, "result": '{"a": 1}', "error": error, "parent": ID}, None)
    assert (view["result"], view["error"]["code"], view["parent"]) == ({"a": 1}, "timeout", shown("job", ID))


def test_a_waiting_parent_counts_the_children_that_ended() -> None:
    children = {"succeeded": 3, "failed": 1, "cancelled": 1, "running": 2, "queued": 4, "retry_wait": 5}
    view = job_view({**ROW, "waiting": True}, children)
    holds(JobView, view)
    assert (view["progress"]["done"], view["progress"]["total"]) == (5, 16)
    assert view["children"] == {"total": 16, **children}


def test_a_parent_that_goes_on_shows_the_progress_of_its_own_stage() -> None:
    view = job_view(ROW, {"succeeded": 3})
    assert (view["progress"]["done"], view["progress"]["total"]) == (1, 4)
    assert view["children"] == {"total": 3, **{s.value: 3 if s is JobState.SUCCEEDED else 0 for s in JobState}}


def test_a_fresh_job_is_shown_as_it_would_be_read_back() -> None:
    new = fresh(metadata='{"k": "v"}', expires_in_s=60.0)
    read = {**ROW, "state": "queued", "attempt": 0, "progress_done": 0, "progress_total": 0, "progress_message": None}
    read |= {"started_at": None, "expires_at": AT}
    assert fresh_view(new, Made(AT, AT)) == job_view(read, None)
    assert fresh_view(replace(new, lane="interactive"), Made(AT, None))["expires_at"] is None


def test_a_job_s_own_receiver_is_shown_as_it_was_given() -> None:
    hook = '{"url": "https://r.example/in", "origin": "https://r.example", "events": ["job.failed"]}'
    view = job_view({**ROW, "webhook": hook}, None)
    holds(JobView, view)
    assert view["webhook"] == {"url": "https://r.example/in", "events": ["job.failed"]}
    new = fresh(webhook=hook)
    assert fresh_view(new, Made(AT, None))["webhook"] == view["webhook"]


COLLECTION: dict[str, Any] = {
    "name": "c",
    "documents": 1,
    "chunks": 2,
    "bytes": 3,
    "encoder": "e",
    "embedder": None,
    "dimension": None,
    "learned": False,
    "settings": CollectionSettings().model_dump_json(),
    "generation": 7,
    "doubt": None,
    "fields": ["year", "lang"],
    "building_job": None,
    "building_settings": None,
    "created_at": AT,
}


def test_a_collection_is_shown_with_its_settings_and_what_it_can_be_filtered_by() -> None:
    view = collection_view(COLLECTION)
    holds(CollectionView, view)
    assert view["settings"]["fusion"]["weights"] == {"sparse": 0.5, "dense": 0.5, "learned": 0.0}
    assert (view["fields"], view["rebuild"]) == (["lang", "year"], None)


def test_a_collection_that_is_being_indexed_again_names_the_job() -> None:
    settings = CollectionSettings().changed({"sparse": {"k1": 0.9}})
    view = collection_view({**COLLECTION, "building_job": ID, "building_settings": settings.model_dump_json()})
    holds(CollectionView, view)
    assert view["rebuild"]["job"] == shown("job", ID)
    assert view["rebuild"]["links"] == {"job": f"/v1/jobs/{shown('job', ID)}"}
    assert (view["settings"]["sparse"]["k1"], view["rebuild"]["settings"]["sparse"]["k1"]) == (0.6, 0.9)


def test_files_and_events_are_shown() -> None:
    file = {
        "id": ID,
        "filename": "a.txt",
        "purpose": "p",
        "bytes": 1,
        "sha256": "0",
        "created_at": AT,
        "expires_at": AT,
        "blob": "hidden",
    }
    holds(FileView, file_view(file))
    assert event_view(ID, 7, "state", AT, {"state": "queued"})["job"] == shown("job", ID)


def test_an_id_is_read_as_it_is_shown() -> None:
    assert parsed("job", shown("job", ID)) == ID


@pytest.mark.parametrize(
    "text",
    ["", "job_", f"file_{ID.hex}", ID.hex, f"job_{ID}", f"job_{ID.hex}0", "job_" + "g" * 32]
    + [f"job_{odd}{ID.hex[len(odd) :]}" for odd in (" 1a2", "0x", "+", "-", "{", "1_2", "\u0661", "A")]
    + [f"job_{ID.hex[:-1]}{odd}" for odd in " \n}"]
    + [f"job_{ID.hex}\n"],
)
def test_what_is_no_id_cannot_exist(text: str) -> None:
    from schemas.errors import NotFound

    with pytest.raises(NotFound) as refusal:
        parsed("job", text)
    assert refusal.value.field == "id"
