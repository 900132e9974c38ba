"""Filters as JSON: what they mean, and what is refused, with the place of the error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.errors import InvalidInput
from schemas.filters import MAX_NAMES, Comparison, Condition, Every, Filter, Some, fields_of, order_of, parse_filter


@pytest.mark.parametrize(
    ("filter", "meant"),
    [
        (None, None),
        ({}, None),
        ({"lang": "ko"}, Comparison("lang", "eq", "ko")),
        ({"open": False}, Comparison("open", "eq", False)),
        ({"topic": ["a", 1]}, Comparison("topic", "in", ("a", 1))),
        ({"topic": []}, Comparison("topic", "in", ())),
        ({"topic": {"nin": ["a"]}}, Comparison("topic", "nin", ("a",))),
        (
            {"year": {"gte": 2020, "lt": 2024}, "lang": {"ne": "en"}},
            Every((Comparison("year", "gte", 2020), Comparison("year", "lt", 2024), Comparison("lang", "ne", "en"))),
        ),
        ({"or": [{"a": 1}, {"b": 2}]}, Some((Comparison("a", "eq", 1), Comparison("b", "eq", 2)))),
        (
            {"and": [{"or": [{"a": 1}]}], "day": {"gt": "2024-01-31"}},
            Every((Every((Some((Comparison("a", "eq", 1),)),)), Comparison("day", "gt", "2024-01-31"))),
        ),
    ],
)
def test_what_a_filter_means(filter: dict[str, Any] | None, meant: Condition | None) -> None:
    assert parse_filter(filter) == meant


def test_the_fields_of_a_filter() -> None:
    condition = parse_filter({"a": 1, "or": [{"b": 2}, {"and": [{"c": {"gt": 1, "lt": 3}}]}]})
    assert fields_of(condition) == {"a", "b", "c"}
    assert fields_of(None) == frozenset()


def nested(depth: int) -> dict[str, Any]:
    return {"and": [nested(depth - 1)]} if depth else {"a": 1}


@pytest.mark.parametrize(
    ("filter", "path"),
    [
        ("lang=ko", "filter"),
        ([{"lang": "ko"}], "filter"),
        ({"": 1}, "filter"),
        ({"x" * 201: 1}, "filter"),
        ({"\ud800": 1}, "filter"),
        ({"lang": None}, "filter.lang"),
        ({"lang": "\udc00"}, "filter.lang"),
        ({"n": float("nan")}, "filter.n"),
        ({"n": {"eq": float("inf")}}, "filter.n.eq"),
        ({"lang": {}}, "filter.lang"),
        ({"lang": {"like": "k%"}}, "filter.lang"),
        ({"lang": {"eq": {"b": 1}}}, "filter.lang.eq"),
        ({"lang": ["ko", ["en"]]}, "filter.lang[1]"),
        ({"lang": {"in": "ko"}}, "filter.lang.in"),
        ({"lang": {"eq": ["ko"]}}, "filter.lang.eq"),
        ({"year": {"gt": "new"}}, "filter.year.gt"),
        ({"year": {"gt": True}}, "filter.year.gt"),
        ({"year": {"gt": 10**400}}, "filter.year.gt"),
        ({"year": {"lt": "2024-02-30"}}, "filter.year.lt"),
        ({"or": {"a": 1}}, "filter.or"),
        ({"or": []}, "filter.or"),
        ({"or": [{}]}, "filter.or[0]"),
        ({"and": [{"a": 1}, {"year": {"gt": None}}]}, "filter.and[1].year.gt"),
        (nested(6), "filter" + ".and[0]" * 5 + ".and"),
        ({"a": list(range(101))}, "filter.a"),
        ({"or": [{"a": 1}] * 101}, "filter.or"),
        ({f"f{n}": n for n in range(65)}, "filter"),
        ({"or": [{"a": {"gte": 1, "lt": 2}}] * 33}, "filter"),
        ({f"f{n}": None for n in range(MAX_NAMES + 1)}, "filter"),
        ({"or": [{"a": [{"b": 1}] * 400}] * 100}, "filter"),
    ],
)
def test_a_malformed_filter_is_refused_with_its_place(filter: Any, path: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_filter(filter)
    assert (refused.value.reason, refused.value.field) == ("filter_invalid", path)
    assert str(refused.value).startswith(f"{path} ")


def test_as_much_as_is_allowed() -> None:
    assert parse_filter(nested(5)) is not None
    assert parse_filter({"a": list(range(100))}) is not None
    assert parse_filter({f"f{n}": n for n in range(64)}) is not None
    each: Any = {"a": {"gt": 1}}
    for _ in range(5):
        each = {"and": [each]}
    assert parse_filter({"and": [each["and"][0]] * 64}) is not None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "and", "or", "gt", "in", "nin", ""]) | st.text(max_size=3), inner, max_size=3
        )
    ),
)


@given(anything)
def test_anything_is_read_or_refused(value: Any) -> None:
    try:
        read = parse_filter(value) is not None
    except InvalidInput as error:
        read, place = False, error.field or ""
    else:
        place = "filter"
    assert place.startswith("filter")
    assert read <= isinstance(value, dict)


@pytest.mark.parametrize(
    ("value", "order"),
    [
        (3, ("number", 3.0)),
        ("-3.50", ("number", -3.5)),
        ("2024", ("number", 2024.0)),
        ("1970-01-02", ("date", 86_400.0)),
        ("1970-01-01T09:00:01+09:00", ("date", 1.0)),
        ("1970-01-01 00:00:00.5", ("date", 0.5)),
        ("0001-01-01T00:00:00+14:00", ("date", -62_135_647_200.0)),
        (True, None),
        (None, None),
        ("", None),
        ("1e5", None),
        ("٣", None),
        ("2024-13-01", None),
        ("new", None),
        (float("nan"), None),
        (10**400, None),
        ([1], None),
    ],
)
def test_what_has_an_order(value: object, order: object) -> None:
    assert order_of(value) == order


class Body(BaseModel):
    filter: Filter = {}


def test_a_model_keeps_a_filter_as_it_was_sent_and_names_what_is_wrong_with_one() -> None:
    sent = {"year": {"gte": 2020}, "topic": ["a", "b"]}
    assert Body.model_validate({"filter": sent}, strict=True).model_dump() == {"filter": sent}
    with pytest.raises(ValidationError, match=r"filter\.or\[0\]\.year must be a text"):
        Body.model_validate({"filter": {"or": [{"year": None}]}})


def test_the_schema_shows_every_operator_and_valid_examples() -> None:
    schema = Body.model_json_schema()["properties"]["filter"]
    compared = schema["additionalProperties"]["anyOf"][2]
    assert set(compared["properties"]) == {"eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"}
    assert set(schema["properties"]) == {"and", "or"}
    for example in schema["examples"]:
        TypeAdapter(Filter).validate_python(example)
