"""What a search may be asked for."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.kinds.registry import KINDS
from schemas.kinds.search import SearchInput
from schemas.kinds.training import TrainingInput
from schemas.kinds.training.trial import Trial, TrialInput

DATASET = f"file_{'0' * 32}"
SPACE: dict[str, Any] = {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "rank": {"choices": [8, 16]}}


def asked(**changes: Any) -> SearchInput:
    return SearchInput.model_validate({"dataset": DATASET, "space": SPACE, **changes})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"space": {}}, "at least 1"),
        ({"space": {"seed": {"low": 0, "high": 9}}}, "learning_rate"),
        ({"space": {"beta": {"low": 0.1, "high": 1}}}, "learning_rate"),
        ({"space": {"learning_rate": {"low": 1e-3, "high": 1e-5}}}, "`low` must be less than `high`"),
        ({"space": {"weight_decay": {"low": 0, "high": 1, "log": True}}}, "`low` must be above 0"),
        ({"space": {"epochs": {"low": 1, "high": 5, "step": 1, "log": True}}}, "`log` or `step`"),
        ({"space": {"learning_rate": {"low": 0.5, "high": 2}}}, "2.0 cannot be the learning_rate"),
        ({"space": {"rank": {"low": 1.5, "high": 8}}}, "the rank is a whole number"),
        ({"space": {"rank": {"choices": [8, 0]}}}, "0 cannot be the rank"),
        ({"space": {"rank": {"choices": [8, 8]}}}, "names a value twice"),
        ({"space": {"scheduler": {"low": 0, "high": 1}}}, "the scheduler is no number"),
        ({"space": {"scheduler": {"choices": ["cosine", "steps"]}}}, "'steps' cannot be the scheduler"),
        ({"sampler": "grid"}, "give those of learning_rate"),
        ({"objectives": ["train_loss", "train_loss"]}, "names one twice"),
        ({"validation_share": 0}, "nothing is held out"),
        ({"objectives": ["train_loss"], "pruner": "median"}, "needs `validation_loss` as the only objective"),
        ({"objectives": ["validation_loss", "seconds"], "register_as": "best"}, "no best trial to register"),
        ({"adapter": "full", "register_as": "best"}, "the engines serve no adapter"),
        ({"trials": 501}, "less than or equal to 500"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_the_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        asked(**changes)


def test_auto_prunes_by_the_median_only_where_held_out_losses_are_what_counts() -> None:
    assert asked().judged_by == "median"
    assert asked(pruner="hyperband").judged_by == "hyperband"
    assert asked(pruner="none").judged_by is None
    assert asked(objectives=["validation_loss", "seconds"]).judged_by is None
    assert asked(objectives=["train_loss"], validation_share=0).judged_by is None


def test_a_grid_has_as_many_trials_as_combinations_at_most() -> None:
    space = {"rank": {"choices": [4, 8, 16]}, "scheduler": {"choices": ["linear", "cosine"]}}
    assert asked(space=space, sampler="grid").most == 6
    assert asked(space=space, sampler="grid", trials=4).most == 4
    assert asked().most == 20


def test_what_varies_takes_the_place_of_what_all_trials_share() -> None:
    request = asked(hyperparameters={"epochs": 2, "rank": 4})
    varied = request.varied({"rank": 16, "learning_rate": 1e-4})
    assert (varied.epochs, varied.rank, varied.learning_rate) == (2, 16, 1e-4)


def test_clients_cannot_submit_a_trial() -> None:
    trial = {"search": "0" * 32, "number": 0, "pruner": None, "until": None}
    with pytest.raises(ValidationError, match="trial"):
        KINDS["training"].input.model_validate({"dataset": DATASET, "trial": trial})
    assert issubclass(TrialInput, TrainingInput)
    assert TrialInput.model_validate({"dataset": DATASET, "trial": trial}).trial == Trial.model_validate(trial)
