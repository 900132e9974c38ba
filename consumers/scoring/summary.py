"""What the scores say: figures with intervals, comparisons with the baseline, groups, gates."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.bootstrap import RESAMPLES, mean_intervals
from consumers.scoring.comparing import compare
from consumers.scoring.table import ScoreTable
from schemas.kinds.evaluation import Gate
from schemas.kinds.evaluation.result import Compared, Comparison, Figures, GateResult, Latency, VariantResult

MANY: Final = 5_000
FEWER_RESAMPLES: Final = 2_000
"""For more than `MANY` items: their intervals are narrow, and the third digit of their ends does not matter."""

MAX_GROUPS: Final = 20
DIGITS: Final = 4


def variant_result(table: ScoreTable, metrics: Sequence[str], *, seed: int) -> VariantResult:
    """The figures of one variant, of the metrics that it has."""
    return VariantResult(
        name=table.variant,
        succeeded=table.succeeded,
        failed=len(table.ids) - table.succeeded,
        metrics=figures(table, metrics, np.ones(len(table.ids), dtype=bool), seed=seed),
        latency_ms=_latency(table),
        tokens=table.tokens,
    )


def figures(table: ScoreTable, metrics: Sequence[str], of: NDArray[np.bool_], *, seed: int) -> dict[str, Figures]:
    """The figures of the answers that `of` selects. A metric without any score has none."""
    values, missing = table.values(metrics)[of], table.missing(metrics)[of]
    kept = [at for at in range(len(metrics)) if len(values) and not np.isnan(values[:, at]).all()]
    if not kept:
        return {}
    clusters = table.clusters()
    intervals = mean_intervals(
        values[:, kept],
        clusters=None if clusters is None else np.array(clusters)[of],
        resamples=_resamples(len(values)),
        seed=seed,
    )
    found = {}
    for at, interval in zip(kept, intervals, strict=True):
        n, lost = int((~np.isnan(values[:, at])).sum()), int(missing[:, at].sum())
        found[metrics[at]] = Figures(
            mean=_rounded(interval.mean),
            ci95=[_rounded(interval.low), _rounded(interval.high)],
            strict=_rounded(interval.mean * n / (n + lost)),
            n=n,
            missing=lost,
            by=table.by.get(metrics[at]) or None,
        )
    return found


def comparison(table: ScoreTable, baseline: ScoreTable, metrics: Sequence[str], *, seed: int) -> Comparison:
    """A variant beside the baseline, on the items that both answered. Pairs with a missing score are left out."""
    ours, theirs, clusters = paired(table, baseline, metrics)
    resamples = _resamples(len(ours))
    found = compare(metrics, ours, theirs, clusters=clusters, resamples=resamples, seed=seed) if len(ours) else []
    return Comparison(
        variant=table.variant,
        baseline=baseline.variant,
        metrics={
            one.metric: Compared(
                gain=_rounded(one.gain.mean),
                ci95=[_rounded(one.gain.low), _rounded(one.gain.high)],
                p=round(one.p, 6),
                p_adjusted=round(one.p_adjusted, 6),
                significant=one.significant,
                test=one.test,
                n=one.n,
                detectable=_rounded(one.detectable),
            )
            for one in found
        },
    )


def paired(
    table: ScoreTable, baseline: ScoreTable, metrics: Sequence[str], *, strict: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str] | None]:
    """The scores of both on the items that both have, in one order, and the items' documents.

    `strict`: a missing score is 0.
    """
    there = baseline.places()
    pairs = [(at, there[place]) for place, at in table.places().items() if place in there]
    ours, theirs = [at for at, _ in pairs], [at for _, at in pairs]
    clusters = table.clusters()
    return (
        _values(table, metrics, strict=strict)[ours],
        _values(baseline, metrics, strict=strict)[theirs],
        None if clusters is None else [clusters[at] for at in ours],
    )


def _values(table: ScoreTable, metrics: Sequence[str], *, strict: bool) -> NDArray[np.float64]:
    values = table.values(metrics)
    return np.where(table.missing(metrics), 0.0, values) if strict else values


def breakdown(table: ScoreTable, metrics: Sequence[str], *, seed: int) -> dict[str, dict[str, Figures]]:
    """The figures of each value of the metadata field, the most frequent `MAX_GROUPS` of them."""
    groups = table.groups()
    names, counts = np.unique(groups.astype(str), return_counts=True)
    order = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda one: (-one[1], one[0]))
    return {name: figures(table, metrics, groups == name, seed=seed) for name, _ in order[:MAX_GROUPS]}


def gate_result(gate: Gate, table: ScoreTable, against: ScoreTable | None, *, seed: int) -> GateResult:
    """Whether a variant passes a gate. Nothing measured is not passed.

    A missing score counts as 0, on both sides of a comparison too, so that a run cannot pass by failing.
    """
    if against is None:
        least = gate.min or 0.0
        values, missing = table.values([gate.metric])[:, 0], table.missing([gate.metric])[:, 0]
        measured = values[~np.isnan(values)]
        value = float(measured.sum()) / (len(measured) + int(missing.sum())) if len(measured) else None
        return _gate(gate, table, None, value, least)
    ours, theirs, clusters = paired(table, against, [gate.metric])
    measured_here, measured_there = (bool((~np.isnan(scores)).any()) for scores in (ours, theirs))
    ours, theirs, _ = paired(table, against, [gate.metric], strict=True)
    kept = ~np.isnan(ours[:, 0] - theirs[:, 0]) if len(ours) else np.zeros(0, dtype=bool)
    value = None
    if measured_here and measured_there and kept.any():
        resamples = _resamples(int(kept.sum()))
        gains = (ours - theirs)[kept]
        chosen = None if clusters is None else np.array(clusters)[kept]
        [interval] = mean_intervals(gains, clusters=chosen, resamples=resamples, seed=seed)
        value = interval.low
    return _gate(gate, table, against.variant, value, -gate.by)


def histogram(table: ScoreTable, metric: str, bins: int = 20) -> list[int]:
    """How many answers have a score of the metric in each of `bins` equal parts of 0..1."""
    values = table.values([metric])[:, 0]
    return [int(n) for n in np.histogram(values[~np.isnan(values)], bins=bins, range=(0, 1))[0]]


def _gate(gate: Gate, table: ScoreTable, against: str | None, value: float | None, limit: float) -> GateResult:
    passed = value is not None and value >= limit - 1e-9
    shown = None if value is None else _rounded(value)
    return GateResult(
        metric=gate.metric, variant=table.variant, against=against, value=shown, limit=limit, passed=passed
    )


def _latency(table: ScoreTable) -> Latency | None:
    if not table.latencies:
        return None
    values = np.array(table.latencies)
    p50, p95 = np.quantile(values, [0.5, 0.95])
    return Latency(mean=round(float(values.mean()), 2), p50=round(float(p50), 2), p95=round(float(p95), 2))


def _resamples(items: int) -> int:
    return RESAMPLES if items <= MANY else FEWER_RESAMPLES


def _rounded(value: float) -> float:
    return round(value, DIGITS) + 0.0
