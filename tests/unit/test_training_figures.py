"""The figures of a training: in the jobs' events, in the tracker, and in the live line."""

from pathlib import Path

import pytest

from consumers.stages.training import curve
from consumers.stages.training.curve import line
from schemas.kinds.training.plan import (
    Frame,
    TrainingPlan,
)
from schemas.lineage import SourceFile
from tests.unit.ports_in_memory import World
from tests.unit.scripted_trainer import BEGUN, COUNTED, ends, place, stepped


def test_the_live_line_tells_what_is_known() -> None:
    assert line(stepped(0, validation_loss=2.0)) == "validation 2.000"
    assert line(stepped(5, loss=1.5, left_s=240.0)) == "loss 1.500 · 100 tokens/s · 4 min left"


async def test_what_a_step_measured_is_in_the_jobs_events_and_in_the_tracker(tmp_path: Path) -> None:
    figures = {"loss": 1.5, "learning_rate": 1e-4, "gradient_norm": 0.5, "left_s": 30.0}
    here = place(
        tmp_path,
        [
            COUNTED,
            BEGUN,
            stepped(0, steps=0, validation_loss=2.0),  # as the trainer says before it has begun
            stepped(1, **figures),
            stepped(2, loss=1.4),  # too soon after the one before
            stepped(2, validation_loss=1.9),
            stepped(3, loss=1.3),
            ends,
        ],
        experiment="rules",
        register_as="mine",
        base_model="large",
    )
    read = SourceFile(file="file_1", filename="a.jsonl", bytes=3, sha256="ab")
    carry = here.job.carry.model_copy(update={"data": here.job.carry.data.model_copy(update={"dataset": read})})
    here.job = World.again(here.job, carry=carry)
    result = (await here.trained()).result
    first = {**figures, "epoch": 0.1, "tokens_per_s": 100.0, "memory_bytes": 1.0}
    last = {**first, "loss": 1.3, "left_s": 2.0}
    del last["learning_rate"], last["gradient_norm"]
    assert (0, 20, "validation 2.000") in here.world.reports
    assert here.world.metrics == [{"validation_loss": 2.0}, first, {"validation_loss": 1.9}, last]
    tracker = here.world.tracker
    assert tracker.curves == {
        ("", 0): {"validation_loss": 2.0},
        ("", 1): first,
        ("", 2): {"validation_loss": 1.9},
        ("", 3): last,
    }
    run = tracker.runs[""]
    assert (run.experiment, run.tags["welip.dataset.sha256"]) == ("rules", "ab")
    assert {name: run.params[name] for name in ("method", "epochs", "alpha", "learning_rate", "rows", "device")} == {
        "method": "sft",
        "epochs": "3.0",
        "alpha": "32",
        "learning_rate": "0.0002",
        "rows": "20",
        "device": "cpu",
    }
    assert not [value for value in run.params.values() if str(tmp_path) in value], "no path of the machine"
    assert tracker.files == {("", "metrics.jsonl"): result.metrics_file}
    assert result.tracking is not None
    assert result.tracking.experiment == "t/rules"


async def test_figures_wait_for_a_tracker_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "EVERY_S", 0.0)

    def back(plan: TrainingPlan) -> Frame:
        here.world.tracker.away = False
        return stepped(3, loss=1.0)

    here = place(tmp_path, [COUNTED, BEGUN, stepped(1, loss=2.0), stepped(2, loss=1.5), back, ends])
    here.world.tracker.away = True
    result = (await here.trained()).result
    losses = {step: told["loss"] for (_, step), told in here.world.tracker.curves.items()}
    assert losses == {1: 2.0, 2: 1.5, 3: 1.0}
    assert result.tracking is not None


async def test_a_deployment_without_a_tracker_trains_as_well(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, stepped(1, loss=2.0), ends])
    here.world.tracker.off = True
    assert (await here.trained()).result.tracking is None
    assert not here.world.tracker.curves
