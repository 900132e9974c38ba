"""What `welip evaluate` makes of its options, and its live line."""

from typing import Any

import pytest

from producers.client.cli.evaluate import parse_gate, parse_variant
from producers.client.cli.evaluated import Rate
from producers.client.cli.failures import WrongUse

NOBODY: Any = None
"""A gate that names no run asks no server."""


def test_a_variant_is_a_name_with_json_values() -> None:
    assert parse_variant("five") == {"name": "five"}
    assert parse_variant("one:top_k=1,generate=null,rerank=false,collection=other") == {
        "name": "one",
        "top_k": 1,
        "generate": None,
        "rerank": False,
        "collection": "other",
    }
    with pytest.raises(WrongUse, match="'top_k' is not key=value"):
        parse_variant("one:top_k")


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("f1>=0.4", {"metric": "f1", "min": 0.4}),
        (" recall@5 >= 1 ", {"metric": "recall@5", "min": 1.0}),
        ("f1>=five-0.01", {"metric": "f1", "not_worse_than": "five", "by": 0.01}),
        ("f1>=top-5", {"metric": "f1", "not_worse_than": "top-5", "by": 0.0}),
        ("f1>=top-5-.02", {"metric": "f1", "not_worse_than": "top-5", "by": 0.02}),
    ],
)
def test_a_gate_is_a_least_value_or_another_run(text: str, gate: dict[str, Any]) -> None:
    assert parse_gate(NOBODY, text) == gate


@pytest.mark.parametrize("text", ["f1", "f1>0.4", "f1<=0.4", ">=0.4", "f1>=a b"])
def test_a_gate_that_is_not_understood_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(WrongUse, match="is not understood"):
        parse_gate(NOBODY, text)


def test_the_live_line_tells_speed_and_time_left_since_it_was_first_looked_at() -> None:
    rate = Rate()
    assert rate.line(1_000, 2_223, now=5.0) == "answered 1,000 of 2,223"
    assert rate.line(1_000, 2_223, now=6.0) == "answered 1,000 of 2,223"
    assert rate.line(1_200, 2_223, now=7.0) == "answered 1,200 of 2,223 · 100/s · 10 s left"
    assert rate.line(1_020, 2_223, now=15.0) == "answered 1,020 of 2,223 · 2/s · 10 min left"
    assert rate.line(3, 2_223, now=16.0) == "answered 3 of 2,223", "another round began"
