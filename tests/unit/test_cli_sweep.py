"""What `welip sweep` makes of its options, and its table of trials."""

from datetime import UTC, datetime
from typing import Any

import pytest

from producers.client.cli.failures import WrongUse
from producers.client.cli.sweep import parse_values
from producers.client.cli.trials import row, table
from producers.client.models import Job


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("rank=8,16,32", ("rank", {"choices": [8, 16, 32]})),
        ("scheduler=linear,cosine", ("scheduler", {"choices": ["linear", "cosine"]})),
        ("learning_rate=1e-5..1e-3:log", ("learning_rate", {"low": 1e-5, "high": 1e-3, "log": True})),
        ("dropout=0..0.2", ("dropout", {"low": 0.0, "high": 0.2})),
        ("epochs=1..5:step=1", ("epochs", {"low": 1.0, "high": 5.0, "step": 1.0})),
        (" weight_decay = .0..1. ", ("weight_decay", {"low": 0.0, "high": 1.0})),
    ],
)
def test_values_are_a_range_or_choices(text: str, values: tuple[str, Any]) -> None:
    assert parse_values(text) == values


@pytest.mark.parametrize(
    ("text", "why"), [("rank", "key=values"), ("rank=", "key=values"), ("rank=1..", "no range"), ("a=b..c", "no range")]
)
def test_values_that_are_not_understood_are_refused_with_an_example(text: str, why: str) -> None:
    with pytest.raises(WrongUse, match=why):
        parse_values(text)


def trial(state: str, **changes: Any) -> Job:
    seen = {"id": "job_1", "kind": "training", "state": state, "created_at": datetime.now(UTC)}
    return Job.model_validate({**seen, "key": "7 · rank=16", **changes})


def test_a_trial_is_a_row() -> None:
    running = trial("running", progress={"done": 40, "total": 120, "message": "loss 1.234"})
    assert row(running) == ("7", "running", "rank=16", "step 40 of 120 · loss 1.234")
    assert row(trial("cancelled", result={"pruned": True})) == ("7", "pruned", "rank=16", "")
    assert row(trial("cancelled", result={"skipped": True}))[1] == "skipped"
    assert row(trial("cancelled"))[1] == "cancelled"
    assert row(trial("succeeded", result={"metrics": {"validation_loss": 1.5}}))[3] == "held-out loss 1.5000"
    assert row(trial("failed", error={"code": "out_of_memory", "message": "x"}))[3] == "out_of_memory"


def test_the_table_shows_what_runs_and_counts_the_rest() -> None:
    counts = {"total": 5, "running": 1, "queued": 2, "succeeded": 2}
    made = table(trial("running", children=counts), [trial("running"), trial("queued"), trial("succeeded")])
    assert str(made.title) == "job_1: 2 ended, 1 running, 2 waiting"
    assert made.row_count == 2
