"""What the gateway reads from headers and errors: ranges, preferences, the names of invalid fields."""

import re
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gateway.collections.search import SearchBody
from gateway.files.content import byte_range
from gateway.http.at_fault import AT_FAULT, LIMITED, as_error
from gateway.http.errors import LimitReached, RangeUnsatisfiable, status_of
from gateway.http.problems import _invalid
from gateway.jobs.routes import preferred_wait
from infra.analysis.refusals import REMEDIES
from schemas import errors
from schemas.jobs import SubmitJob
from schemas.kinds.registry import KINDS, submittable
from schemas.names import DocumentId

ROOT = Path(__file__).parents[2]
TEN = bytes(range(10))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=3-3", (3, 1)),
        ("bytes=3-", (3, 7)),
        ("bytes=-3", (7, 3)),
        ("bytes=-30", (0, 10)),
        ("bytes=3-999999999999999999", (3, 7)),
        (" bytes=0-0 ", (0, 1)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=one-two", None),
        ("bytes=0-" + "9" * 5000, None),
    ],
)
def test_a_byte_range_is_read(wanted: str | None, found: tuple[int, int] | None) -> None:
    assert byte_range(wanted, 10) == found


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=10-11", "bytes=5-2", "bytes=-0"])
def test_a_range_without_a_byte_cannot_be_satisfied(wanted: str) -> None:
    with pytest.raises(RangeUnsatisfiable) as refusal:
        byte_range(wanted, 10)
    assert (refusal.value.size, status_of(refusal.value)) == (10, 416)


def test_no_range_of_an_empty_file_can_be_satisfied() -> None:
    for wanted in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        with pytest.raises(RangeUnsatisfiable):
            byte_range(wanted, 0)


@given(st.integers(0, 12), st.integers(0, 12))
def test_a_byte_range_is_what_slicing_gives(first: int, last: int) -> None:
    try:
        found = byte_range(f"bytes={first}-{last}", len(TEN))
    except RangeUnsatisfiable:
        assert TEN[first : last + 1] == b""
    else:
        assert found is not None
        assert TEN[found[0] : sum(found)] == TEN[first : last + 1] != b""


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("wait=5", 5),
        ("respond-async, wait=10", 10),
        ("wait=10; handling=lenient", 10),
        ('Wait = "7"', 7),
        ("wait=60", 60),
        ("wait=61", 60),
        ("wait=999999999999", 60),
        ("wait=-1", 0),
        ("wait=soon", 0),
        ("await=5", 0),
        ("return=minimal", 0),
    ],
)
def test_a_preference_to_wait_is_read(prefer: str | None, seconds: int) -> None:
    assert preferred_wait(prefer) == seconds


async def said(*location: str | int, body: Any) -> dict[str, Any]:
    """The problem for a body that `SubmitJob` refuses, in the form in which FastAPI reports errors."""
    try:
        TypeAdapter(SubmitJob).validate_python(body)
    except ValidationError as error:
        found = [{**e, "loc": (*location, *e["loc"])} for e in error.errors()]
        answer = await _invalid(None, RequestValidationError(found))  # type: ignore[arg-type]
        problem: dict[str, Any] = orjson.loads(bytes(answer.body))
        return problem
    raise AssertionError("the body was accepted")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "noop", "input": {"steps": 0}}, "input.steps"),
        ({"kind": "noop", "input": {}, "noop": 1}, "noop"),
        ({"kind": "noop", "input": {}, "metadata": {"input": 1}}, "metadata.input"),
        ({"kind": "noop", "input": {}, "input.steps": 1}, "input.steps"),
        ({"kind": "inference", "input": {"collection": "c"}}, "input.question"),
        ({"kind": "indexing", "input": {"collection": "c", "documents": [{"id": "d", "text": 1}]}},
         "input.documents[0].text"),
        ({"kind": "indexing", "input": {"collection": "c", "delete": ["d", ""]}}, "input.delete[1]"),
        ({"kind": "cooking"}, "kind"),
        ({}, "kind"),
        (None, "body"),
    ],
)  # fmt: skip
async def test_the_wrong_field_is_named_as_the_client_wrote_it(body: Any, field: str) -> None:
    problem = await said("body", body=body)
    assert problem["field"] == problem["errors"][0]["field"] == field
    assert problem["detail"] == problem["errors"][0]["message"]


async def test_an_unknown_kind_is_answered_with_those_there_are() -> None:
    problem = await said("body", body={"kind": "cooking", "input": {}})
    assert problem["code"] == "unknown_kind"
    assert problem["detail"] == "unknown kind 'cooking': one of " + ", ".join(repr(kind.name) for kind in submittable())


async def test_a_kind_that_other_jobs_alone_make_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = replace(KINDS["noop"], name="hidden", submittable=False)
    monkeypatch.setitem(KINDS, "hidden", hidden)  # type: ignore[arg-type]
    problem = await said("body", body={"kind": "hidden", "input": {}})
    assert (problem["code"], problem["field"]) == ("kind_not_submittable", "kind")
    assert (
        "'hidden' can only be made by other jobs: submit 'indexing', 'inference', 'generation', 'embedding',"
        in problem["detail"]
    )


@pytest.mark.parametrize("id", [".", "..", " .. ", "a/..", "../a", "a/../b", "./a", "a/./b", "/.."])
async def test_an_id_that_a_client_would_resolve_as_a_path_is_refused(id: str) -> None:
    refused = await said(
        "body", body={"kind": "indexing", "input": {"collection": "c", "documents": [{"id": id, "text": "x"}]}}
    )
    assert (refused["code"], refused["field"]) == ("invalid_input", "input.documents[0].id")
    there = {"kind": "indexing", "input": {"collection": "c", "delete": [id]}}
    assert TypeAdapter(SubmitJob).validate_python(there).input.delete == [id.strip()]


@pytest.mark.parametrize("id", ["", " ", "\u3000", "\n", "가" * 201])
def test_an_id_is_neither_empty_nor_long(id: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(DocumentId).validate_python(id)


@pytest.mark.parametrize("id", ["...", ".a", "a.", "a..b", "a/b", "..%2F"])
async def test_an_id_may_hold_dots_otherwise(id: str) -> None:
    assert TypeAdapter(DocumentId).validate_python(id) == id


async def test_a_long_list_of_errors_is_cut() -> None:
    documents = [{"id": "", "text": "x"} for _ in range(50)]
    problem = await said("body", body={"kind": "indexing", "input": {"collection": "c", "documents": documents}})
    assert len(problem["errors"]) == 20


@pytest.mark.parametrize("where", ["query", "path", "header"])
async def test_a_parameter_is_named_alone(where: str) -> None:
    found = [{"type": "int_parsing", "loc": (where, "limit"), "msg": "Input should be a valid integer"}]
    answer = await _invalid(None, RequestValidationError(found))  # type: ignore[arg-type]
    assert orjson.loads(bytes(answer.body))["field"] == "limit"


def test_every_error_has_a_status_that_is_documented() -> None:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.JobError)]
    assert len(found) > 10
    expected = {"invalid_input": 422, "document_refused": 422, "batch_invalid": 422, "not_found": 404, "conflict": 409}
    expected |= {"dependency_unavailable": 503, "engine_overloaded": 503, "engine_died": 503}
    assert {kind.code: status_of(kind("why")) for kind in found} == {
        kind.code: expected.get(kind.code, 500) for kind in found
    }
    assert set("".join(kind.code for kind in found)) <= set(string.ascii_lowercase + "_")


def test_a_search_that_fails_because_of_its_caller_names_the_field() -> None:
    shared = [ROOT / "consumers/stages" / name for name in ("models.py", "collections.py")]
    stages = [*(ROOT / "consumers/stages/inference").glob("*.py"), *shared]
    raised = {code for path in stages for code in re.findall(r'\bcode="(\w+)"', path.read_text(encoding="utf-8"))}
    assert (raised - {"model_unknown"}) | set(REMEDIES) == set(AT_FAULT), "a search generates nothing"
    for code in AT_FAULT:
        error = as_error({"code": code, "message": "why", "retryable": False})
        assert (error.reason, status_of(error) in {404, 409, 422}) == (code, True)
        assert error.field in {"name", *SearchBody.model_fields}


@pytest.mark.parametrize(
    ("code", "retryable", "status"),
    [("expired", False, 503), ("timeout", True, 503), ("engine_overloaded", True, 503), ("engine_refused", False, 500)],
)
def test_any_other_failure_of_a_search_is_the_server_s(code: str, retryable: bool, status: int) -> None:
    error = as_error({"code": code, "message": "why", "retryable": retryable})
    assert (status_of(error), error.reason, error.field) == (status, code, None)


def test_a_tenant_with_too_many_searches_is_told_to_wait() -> None:
    for code in LIMITED:
        error = as_error({"code": code, "message": "why", "retryable": False})
        assert isinstance(error, LimitReached)
        assert (status_of(error), error.reason, error.retry_after_s > 0) == (429, code, True)
