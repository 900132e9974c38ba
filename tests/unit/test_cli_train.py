"""What `welip train` makes of its options, and its live line."""

from datetime import UTC, datetime
from typing import Any

import pytest

from producers.client.cli.failures import WrongUse
from producers.client.cli.train import line, parse_pair
from producers.client.models import Job


def job(stage: str, done: int, total: int, message: str | None) -> Job:
    seen = {"done": done, "total": total, "message": message}
    return Job.model_validate(
        {
            "id": "job_1",
            "kind": "training",
            "state": "running",
            "stage": stage,
            "progress": seen,
            "created_at": datetime.now(UTC),
        }
    )


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("epochs=5", ("epochs", 5)),
        (" learning_rate = 2e-4", ("learning_rate", 2e-4)),
        ("max_length=auto", ("max_length", "auto")),
        ("completion_only=false", ("completion_only", False)),
    ],
)
def test_a_hyperparameter_is_a_name_with_a_json_value(text: str, pair: tuple[str, Any]) -> None:
    assert parse_pair(text) == pair


@pytest.mark.parametrize("text", ["epochs", "=5", "Epochs=5"])
def test_a_pair_that_is_not_understood_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(WrongUse, match="is not key=value"):
        parse_pair(text)


def test_the_live_line_counts_steps_and_passes_on_what_else_is_said() -> None:
    told = line(job("train", 40, 120, "loss 1.234 · 880 tokens/s · 3 min left"))
    assert told == "step 40 of 120 · loss 1.234 · 880 tokens/s · 3 min left"
    assert line(job("prepare", 10, 20, "checking the dataset")) == "checking the dataset"
    assert line(job("train", 0, 0, None)) == "running"
