"""What `welip train` makes of its options, and its live line."""

from datetime import UTC, datetime
from typing import Any

import pytest

from producers.client.cli.examples import parse_pair
from producers.client.cli.failures import WrongUse
from producers.client.cli.live_training import LiveTraining, curve
from producers.client.events import TYPES, Event


def event(type: str, **data: Any) -> Event:
    told = {"id": 1, "job": "job_1", "type": type, "at": datetime.now(UTC), "data": data}
    return TYPES.get(type, Event).model_validate(told)


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


def test_the_live_line_tells_the_newest_figures_and_the_losses_as_a_curve() -> None:
    live = LiveTraining()
    live.add(event("state", state="queued", stage="prepare"))
    assert live.text == "waiting for a worker"
    live.add(event("progress", done=10, total=20, message="checking the dataset"))
    assert (live.text, live.fraction) == ("checking the dataset", 0.0)
    live.add(event("progress", done=0, total=120, message="validation 2.000", metrics={"validation_loss": 2.0}))
    assert live.text == "step 0 of 120 · validation 2.000"
    for step, loss in ((30, 2.0), (60, 1.0)):
        figures = {"loss": loss, "learning_rate": 2e-4, "gradient_norm": 0.834, "memory_bytes": 2.14e9}
        said = f"loss {loss:.3f} · 880 tokens/s · 3 min left"
        live.add(event("progress", done=step, total=120, message=said, metrics=figures))
    told = "step 60 of 120 · loss 1.000 · 880 tokens/s · 3 min left · rate 2.0e-04 · gradient 0.83 · 2.1 GB"
    assert live.text == f"█▁ {told}"
    assert live.fraction == 0.5
    live.add(event("paused", by="me", reason=None))
    assert live.text == "paused"
    live.add(event("resumed", by="me", reason=None))
    live.add(event("state", state="queued", stage="train"))
    assert live.text == "waiting for a worker"


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([], ""), ([1.0], ""), ([1.0, 1.0], "▁▁"), ([3.0, 2.0, 1.0], "█▅▁"), ([float(at) for at in range(99)], None)],
)
def test_a_curve_is_as_long_as_there_is_room(values: list[float], drawn: str | None) -> None:
    made = curve(values)
    assert len(made) <= 16
    assert made == drawn if drawn is not None else (made[0], made[-1]) == ("▁", "█")
