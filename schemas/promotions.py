"""Whether an evaluation lets a model take the place of another: what a promotion needs, and what the ledger keeps."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from pydantic import BaseModel

from schemas.errors import Conflict, InvalidInput
from schemas.kinds.evaluation import EvaluationInput, ModelVariant, RetrievalVariant
from schemas.kinds.evaluation.result import EvaluationResult, GateResult

FRESH_FOR: Final = timedelta(days=7)
"""An older evaluation says little about what users ask now."""


class GateNotPassed(InvalidInput):
    """The evaluation does not show that the candidate is as good as the champion; the message has its figures."""

    code = "gate_not_passed"


class ChampionChanged(Conflict):
    """The alias points to another model than the caller expects; the message names it."""

    code = "champion_changed"


class MetricEvidence(BaseModel):
    """A metric of both models, and the candidate's gain with its 95 % interval. Null where nothing was measured."""

    champion: float | None
    candidate: float | None
    gain: float | None = None
    ci95: list[float] | None = None


class Evidence(BaseModel):
    """What the ledger keeps of an evaluation: figures of the two models, and the gates between them.

    `dataset`: its file, if the questions came from one, and that file's digest.
    """

    evaluation: str
    items: int
    dataset: str | None = None
    dataset_sha256: str | None = None
    metrics: dict[str, MetricEvidence]
    gates: list[GateResult]


def proof(
    job: str,
    asked: EvaluationInput,
    found: EvaluationResult,
    *,
    champion: str,
    candidate: str,
    named: Callable[[str], str] = str,
) -> Evidence:
    """The figures of an evaluation that lets the candidate take over. Raises `GateNotPassed`, also as `compared`."""
    told = compared(job, asked, found, champion=champion, candidate=candidate, named=named)
    if not all(gate.passed for gate in told.gates):
        raise GateNotPassed(f"{candidate!r} is not shown to be as good as {champion!r}: {said(told)}")
    return told


def compared(
    job: str,
    asked: EvaluationInput,
    found: EvaluationResult,
    *,
    champion: str,
    candidate: str,
    named: Callable[[str], str] = str,
) -> Evidence:
    """The figures of an evaluation that compared the two. `named` gives a model's full name.

    Raises `GateNotPassed` when it did not compare them, or compared them without a gate.
    """
    champions, candidates = (_variants(asked, model, named) for model in (champion, candidate))
    for model, variants in ((champion, champions), (candidate, candidates)):
        if not variants:
            raise GateNotPassed(f"{job} has no variant that runs on {model!r}", field="evaluation")
    between = [gate for gate in found.gates if gate.variant in candidates and gate.against in champions]
    if not between:
        raise GateNotPassed(
            f"{job} has no gate that compares the two: give the variant of {candidate!r} a gate with"
            f" `not_worse_than` the variant of {champion!r}",
            field="evaluation",
        )
    ours = between[0].variant
    theirs = next(gate.against for gate in between if gate.variant == ours and gate.against is not None)
    gates = [gate for gate in found.gates if gate.variant == ours]
    return Evidence(
        evaluation=job,
        items=found.items.total,
        dataset=None if asked.dataset is None else asked.dataset.file,
        metrics=_metrics(found, theirs, ours),
        gates=gates,
    )


def alone(job: str, asked: EvaluationInput, found: EvaluationResult, variant: str) -> Evidence:
    """The figures of a model that replaces none."""
    return Evidence(
        evaluation=job,
        items=found.items.total,
        dataset=None if asked.dataset is None else asked.dataset.file,
        metrics=_metrics(found, None, variant),
        gates=[gate for gate in found.gates if gate.variant == variant],
    )


def said(told: Evidence) -> str:
    """`f1 0.310 beside 0.820, difference -0.510 (-0.560 to -0.450), at least -0.050 is needed`, for each gate."""
    return "; ".join(_said(gate, told.metrics.get(gate.metric)) for gate in told.gates if not gate.passed) or "; ".join(
        _said(gate, told.metrics.get(gate.metric)) for gate in told.gates
    )


def models_of(asked: EvaluationInput) -> dict[str, str]:
    """The model that each variant of an evaluation names; variants that only retrieve are missing."""
    return {way.name: model for way in asked.ways if (model := _model(way)) is not None}


def _said(gate: GateResult, figures: MetricEvidence | None) -> str:
    if gate.value is None or figures is None:
        return f"{gate.metric} could not be measured"
    if gate.against is None:
        return f"{gate.metric} {gate.value:.3f}, at least {gate.limit:.3f} is needed"
    beside = "nothing" if figures.champion is None else f"{figures.champion:.3f}"
    ours = "nothing" if figures.candidate is None else f"{figures.candidate:.3f}"
    gain = "" if figures.gain is None else f", difference {figures.gain:+.3f}"
    interval = "" if figures.ci95 is None else f" ({figures.ci95[0]:+.3f} to {figures.ci95[1]:+.3f})"
    return f"{gate.metric} {ours} beside {beside}{gain}{interval}, at least {gate.limit:+.3f} is needed"


def _variants(asked: EvaluationInput, model: str, named: Callable[[str], str]) -> Sequence[str]:
    return [variant for variant, asks in models_of(asked).items() if named(asks) == model]


def _model(way: RetrievalVariant | ModelVariant) -> str | None:
    if isinstance(way, ModelVariant):
        return way.model
    return None if way.generate is None else way.generate.model


def _metrics(found: EvaluationResult, champion: str | None, candidate: str) -> dict[str, MetricEvidence]:
    figures = {variant.name: variant.metrics for variant in found.variants}
    gains = next(
        (one.metrics for one in found.comparisons if (one.variant, one.baseline) == (candidate, champion)), None
    )
    told: dict[str, MetricEvidence] = {}
    for name, ours in figures.get(candidate, {}).items():
        theirs = figures.get(champion or "", {}).get(name)
        gain = None if gains is None else gains.get(name)
        told[name] = MetricEvidence(
            champion=None if theirs is None else theirs.strict,
            candidate=ours.strict,
            gain=None if gain is None else gain.gain,
            ci95=None if gain is None else gain.ci95,
        )
    return told
