"""What Optuna is asked: the next trials, the best ones, what mattered, and which trial is hopeless."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from consumers.stages.ports import Evaluation, SeenTrial
from consumers.stages.search.studies import best_of, hopeless, importance, proposed
from consumers.stages.search.trials import EndedTrial
from schemas.kinds.search import SearchInput, State
from schemas.lifecycle import JobState

AT = datetime(2026, 1, 1, tzinfo=UTC)
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "rank": {"low": 4, "high": 64, "step": 4},
    "scheduler": {"choices": ["linear", "cosine"]},
}


def asked(**changes: Any) -> SearchInput:
    return SearchInput.model_validate({"dataset": f"file_{'0' * 32}", "space": SPACE, "trials": 50, **changes})


def ended(number: int, params: dict[str, Any], *values: float, state: State = "complete") -> EndedTrial:
    told = [Evaluation(step, 3.0 - step, AT) for step in (1, 2)]
    return EndedTrial(number, UUID(int=number), state, params, list(values) or None, told, None, None, None)


def searched(request: SearchInput, number: int) -> list[EndedTrial]:
    """So many trials, one after the other; the loss is that of the learning rate's distance from 1e-3."""
    trials: list[EndedTrial] = []
    for at in range(number):
        [params] = proposed(request, trials, 1)
        rate = params["learning_rate"]
        trials.append(ended(at, params, max(rate / 1e-3, 1e-3 / rate)))
    return trials


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_trials_always_lead_to_the_same_next_ones(sampler: str) -> None:
    request = asked(sampler=sampler)
    trials = searched(request, 12)
    assert proposed(request, trials, 3) == proposed(request, trials, 3)
    assert proposed(request, trials, 3) != proposed(asked(sampler=sampler, seed=1), trials, 3)
    assert proposed(request, trials, 1) != proposed(request, trials[:-1], 1)
    tried = [str(one.params) for one in trials]
    assert len(set(tried)) == len(tried)


def test_what_is_proposed_lies_in_the_space() -> None:
    for params in proposed(asked(sampler="random"), [], 40):
        assert 1e-5 <= params["learning_rate"] <= 1e-1
        assert params["rank"] in range(4, 65, 4)
        assert params["scheduler"] in ("linear", "cosine")


def test_tpe_comes_closer_to_what_is_good() -> None:
    trials = searched(asked(), 30)

    def typical(some: Sequence[EndedTrial]) -> float:
        values = sorted(one.values[0] for one in some if one.values)
        return values[len(values) // 2]

    assert typical(trials[15:]) < typical(trials[:10]) / 2


def test_a_grid_is_gone_through_in_order_and_ends() -> None:
    space = {"rank": {"choices": [4, 8]}, "scheduler": {"choices": ["linear", "cosine"]}}
    request = asked(space=space, sampler="grid")
    first = proposed(request, [], 3)
    assert first[:2] == [{"rank": 4, "scheduler": "linear"}, {"rank": 4, "scheduler": "cosine"}]
    trials = [ended(at, params, 1.0) for at, params in enumerate(first)]
    assert proposed(request, trials, 3) == [{"rank": 8, "scheduler": "cosine"}]


def test_the_best_of_several_objectives_is_a_front() -> None:
    params = proposed(asked(sampler="random"), [], 4)
    both = asked(objectives=["validation_loss", "tokens_per_s"])
    figures = [(1.0, 50.0), (2.0, 90.0), (2.0, 40.0)]
    trials = [ended(at, params[at], *values) for at, values in enumerate(figures)]
    assert best_of(both, [*trials, ended(3, params[3], state="failed")]) == [0, 1]
    one = asked(objectives=["tokens_per_s"])
    assert best_of(one, [ended(at, params[at], speed) for at, (_, speed) in enumerate(figures)]) == [1]
    assert best_of(asked(), [ended(0, params[0], state="pruned")]) == []


def test_the_hyperparameter_that_decides_is_the_important_one() -> None:
    request = asked(sampler="random")
    [shares] = importance(request, searched(request, 40)).values()
    assert max(shares, key=lambda name: shares[name]) == "learning_rate"
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    assert importance(request, searched(request, 3)) == {}


CLOCK = count()


def seen(number: int, *losses: float, state: JobState = JobState.SUCCEEDED) -> SeenTrial:
    told = [Evaluation(10 * at, loss, AT + timedelta(seconds=next(CLOCK))) for at, loss in enumerate(losses, start=1)]
    return SeenTrial(UUID(int=number), str(number), state, told)


def run(number: int, *losses: float) -> SeenTrial:
    return seen(number, *losses, state=JobState.RUNNING)


def test_the_median_of_complete_trials_decides_from_the_second_evaluation_on() -> None:
    complete = [seen(at, 2.0, 1.0 + at / 10, 0.5) for at in range(5)]

    def stopped(*losses: float) -> bool:
        return hopeless("median", "s", [*complete, run(5, *losses)], 5, None)

    assert not stopped(9.0)
    assert stopped(9.0, 1.5)
    assert not stopped(9.0, 1.1)


def test_nothing_is_compared_before_enough_trials_are_complete() -> None:
    some = [seen(at, 1.0, 1.0) for at in range(3)]
    others = [seen(3, 1.0, 1.0, state=JobState.FAILED), seen(4, 1.0, state=JobState.CANCELLED), run(5, 1.0, 1.0)]
    assert not hopeless("median", "s", [*some, *others, run(6, 9.0, 9.0)], 6, None)
    assert hopeless("median", "s", [*some, seen(3, 1.0, 1.0), run(4, 9.0, 9.0)], 4, None)


def test_hyperband_stops_what_is_not_among_the_best_even_of_those_that_still_run() -> None:
    trials = [run(at, 1.0 + at / 10) for at in range(12)]
    told = [hopeless("hyperband", "search", [*trials, run(12 + at, 9.0)], 12, None) for at in range(1)]
    good = hopeless("hyperband", "search", [*trials, run(12, 0.1)], 12, None)
    brackets = [hopeless("hyperband", name, [*trials, run(12, 9.0)], 12, None) for name in "abcdefgh"]
    assert not good
    assert any(brackets), "a bracket that judges at the first evaluation"
    assert not all(brackets), "and one that gives more time"
    assert told == [hopeless("hyperband", "search", [*trials, run(12, 9.0)], 12, None)], "the name decides, not chance"


def test_a_trial_without_an_evaluation_is_not_judged() -> None:
    assert not hopeless("median", "s", [run(0)], 0, None)
