"""Optuna's studies, built anew from the trials whenever something is asked: what to try next, and what is best.

Optuna is imported where it is called: a worker says what it lacks when it opens its ports, and importing takes a while.
"""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from consumers.stages.ports import SeenTrial
from consumers.stages.search.trials import EndedTrial
from schemas.kinds.search import MAXIMISED, WHOLE, Choices, Range, SearchInput
from schemas.kinds.training.trial import EVALUATIONS, Pruner
from schemas.lifecycle import TERMINAL, JobState

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

STARTUP: Final = 10
"""Trials that TPE tries at random before it has something to go by: Optuna's default."""
FEWEST_TO_COMPARE: Final = 4
"""Complete trials before the median means something, and before hyperparameters are told apart."""


def proposed(request: SearchInput, trials: Sequence[EndedTrial], count: int) -> list[dict[str, Any]]:
    """The hyperparameters of the next `count` trials. Blocking.

    The same trials always lead to the same answer, so that a try of the stage that is repeated asks for the same.
    """
    if request.sampler == "grid":
        values = [choices.choices for choices in request.space.values() if isinstance(choices, Choices)]
        points = itertools.product(*values)
        some = itertools.islice(points, len(trials), len(trials) + count)
        return [dict(zip(request.space, point, strict=True)) for point in some]
    from optuna.samplers import BaseSampler, RandomSampler, TPESampler

    seed = crc32(f"{request.seed}/{len(trials)}".encode())
    sampler: BaseSampler
    if request.sampler == "random":
        sampler = RandomSampler(seed=seed)
    else:
        # What runs at the same time counts as bad, so that a round does not try one place many times.
        sampler = TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=False, constant_liar=True)
    with _quiet():
        study = _study(request, trials, sampler)
        space = _distributions(request)
        return [study.ask(space).params for _ in range(count)]


def best_of(request: SearchInput, trials: Sequence[EndedTrial]) -> list[int]:
    """The number of the best trial; of several objectives, of those that none is better than in all. Blocking."""
    if not any(one.state == "complete" for one in trials):
        return []
    with _quiet():
        study = _study(request, trials)
        if len(request.objectives) == 1:
            return [study.best_trial.number]
        return [one.number for one in study.best_trials]


def importance(request: SearchInput, trials: Sequence[EndedTrial]) -> dict[str, dict[str, float]]:
    """How much each hyperparameter explains of each objective (PED-ANOVA, https://arxiv.org/abs/2304.10255). Blocking.

    Empty while too few trials are complete, or where only one hyperparameter varies.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if len(request.space) < 2 or sum(one.state == "complete" for one in trials) < FEWEST_TO_COMPARE:
        return {}
    found: dict[str, dict[str, float]] = {}
    with _quiet():
        study = _study(request, trials)
        for at, name in enumerate(request.objectives):
            sign = -1.0 if name in MAXIMISED else 1.0

            def value(one: "FrozenTrial", at: int = at, sign: float = sign) -> float:
                return sign * float(one.values[at])

            # A quarter of the trials are good ones: a tenth of some twenty would be one or two.
            by = PedAnovaImportanceEvaluator(target_quantile=0.25)
            shares = get_param_importances(study, evaluator=by, target=value)
            found[name] = {param: round(share, 4) for param, share in shares.items()}
    return found


def hopeless(pruner: Pruner, search: str, trials: Sequence[SeenTrial], mine: int, expected: int | None) -> bool:
    """Whether the trial at this place in the list should stop after its last evaluation. Blocking.

    What the others measured is told to Optuna's pruner in the order in which it was measured. A trial's evaluations
    are counted, because the same number is the same part of a run, whatever the number of its steps is. `expected`:
    how many a run makes; None: as many as an `evaluate_every` of `auto` makes.
    """
    import optuna
    from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner
    from optuna.trial import TrialState

    most = expected or EVALUATIONS
    judge: BasePruner
    if pruner == "median":
        judge = MedianPruner(n_startup_trials=FEWEST_TO_COMPARE, n_warmup_steps=2)
    else:
        judge = HyperbandPruner(min_resource=1, max_resource=most, reduction_factor=3)
    with _quiet():
        # Hyperband chooses a trial's bracket by the study's name.
        study = optuna.create_study(direction="minimize", pruner=judge, study_name=search)
        asked = [study.ask() for _ in trials]
        told = [
            (one.at, place, number, one.loss)
            for place, trial in enumerate(trials)
            for number, one in enumerate(trial.evaluations, start=1)
        ]
        last = len(trials[mine].evaluations)
        if not last:
            return False
        for _, place, number, loss in sorted(told):
            if (place, number) != (mine, last):
                asked[place].report(loss, number)
                asked[place].should_prune()
        for place, trial in enumerate(trials):
            if place != mine and trial.state in TERMINAL:
                if trial.state is JobState.SUCCEEDED and trial.evaluations:
                    study.tell(asked[place], trial.evaluations[-1].loss)
                else:
                    study.tell(asked[place], state=TrialState.FAIL)
        asked[mine].report(trials[mine].evaluations[-1].loss, last)
        return bool(asked[mine].should_prune())


def _study(request: SearchInput, trials: Sequence[EndedTrial], sampler: Any = None) -> "Study":
    import optuna
    from optuna.trial import TrialState, create_trial

    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    directions = ["maximize" if name in MAXIMISED else "minimize" for name in request.objectives]
    study = optuna.create_study(directions=directions, sampler=sampler)
    for one in trials:
        study.add_trial(
            create_trial(
                state=states.get(one.state, TrialState.FAIL),
                params=one.params,
                distributions=_distributions(request),
                values=one.values,
                intermediate_values={at: seen.loss for at, seen in enumerate(one.evaluations, start=1)},
            )
        )
    return study


def _distributions(request: SearchInput) -> "dict[str, BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, values in request.space.items():
        match values:
            case Choices(choices=choices):
                found[name] = CategoricalDistribution(choices)
            case Range(low=low, high=high, log=log, step=step) if name in WHOLE:
                found[name] = IntDistribution(int(low), int(high), log=log, step=int(step or 1))
            case Range(low=low, high=high, log=log, step=step):
                found[name] = FloatDistribution(low, high, log=log, step=step)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna logs each trial, and warns of what it calls experimental."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
