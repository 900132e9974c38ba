"""Trials of a search: one that others beat is stopped, none begins after the search's time, and none leaves a page."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from consumers.stages.ports import Evaluation, SeenTrial
from consumers.stages.registry import stage
from schemas.kinds.training.carries import Trained
from schemas.kinds.training.plan import (
    Frame,
)
from schemas.kinds.training.trial import TrialInput
from schemas.lifecycle import JobState
from schemas.outcomes import Cancelled, Next
from tests.unit.ports_in_memory import World
from tests.unit.scripted_trainer import BEGUN, COUNTED, Place, ends, place, stepped


@dataclass
class Trials:
    """Four trials that are complete, and the one that runs."""

    mine: UUID
    told: list[Evaluation] = field(default_factory=list)

    async def evaluated(self, trial: UUID, step: int, loss: float) -> list[SeenTrial]:
        assert trial == self.mine
        self.told.append(Evaluation(step, loss, datetime.now(UTC)))
        others = [
            SeenTrial(uuid4(), str(n), JobState.SUCCEEDED, [Evaluation(s, 1.0, datetime.now(UTC)) for s in (5, 10, 15)])
            for n in range(4)
        ]
        return [*others, SeenTrial(trial, "4", JobState.RUNNING, list(self.told))]

    async def seen(self, search: UUID) -> list[SeenTrial]:
        raise AssertionError("only the search asks this")


class OptunaThere:
    async def ready(self) -> None:
        return None


def trial_of(here: Place, **changes: Any) -> Trials:
    """The job becomes a trial of a search."""
    trial = {"search": str(uuid4()), "number": 4, "pruner": "median", "until": None, **changes}
    asked = {**here.job.input.model_dump(mode="json"), "trial": trial}
    here.job = replace(here.job, input=TrialInput.model_validate(asked))
    here.ports.trials = trials = Trials(here.job.id)
    here.ports.optimiser = OptunaThere()
    return trials


def evaluates(*losses: float) -> list[Frame]:
    return [stepped(5 * at, validation_loss=loss) for at, loss in enumerate(losses)]


async def test_a_trial_that_others_beat_ends_as_pruned(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, *evaluates(3.0, 2.0, 1.9, 1.8, 1.7)])
    trials = trial_of(here)
    outcome = await here.train()
    assert outcome == Cancelled({"pruned": True, "evaluation": 2, "step": 10, "validation_loss": 1.9})
    assert [one.step for one in trials.told] == [5, 10], "the loss before the first step is not compared"


async def test_a_trial_is_not_stopped_at_its_last_step_nor_without_a_pruner(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, stepped(20, validation_loss=9.0), ends])
    assert trial_of(here) is not None
    assert isinstance(await here.train(), Next)
    (tmp_path / "other").mkdir()
    here = place(tmp_path / "other", [COUNTED, BEGUN, *evaluates(3.0, 9.0, 9.0, 9.0), ends])
    trials = trial_of(here, pruner=None)
    assert isinstance(await here.train(), Next)
    assert len(trials.told) == 3, "its losses are kept for the others and for the report"


async def test_a_trial_does_not_begin_when_the_time_of_its_search_is_over() -> None:
    world = World()
    trial = {"search": str(uuid4()), "number": 0, "pruner": None, "until": (datetime.now(UTC)).isoformat()}
    given = {"base_model": "small", "dataset": f"file_{'0' * 32}", "trial": trial}
    outcome = await stage("training", "prepare")(world.job("training", "prepare", given), world.ports)
    assert outcome == Cancelled({"skipped": True})


async def test_a_training_leaves_a_page_and_a_trial_does_not(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, ends], language="en")
    carry = await here.trained()
    here.job = World.again(here.job, stage="report", carry=carry)
    outcome = await stage("training", "report")(here.job, here.ports)
    assert isinstance(outcome, Next)
    assert isinstance(outcome.carry, Trained)
    assert outcome.stage == "register"
    report = outcome.carry.result.report
    assert report is not None
    html = here.world.blobs.data[here.world.files.named[report].blob].decode()
    assert "Training report" in html
    trial_of(here)
    assert await stage("training", "report")(here.job, here.ports) == Next("register", carry)
