"""All that a report tells, from the tables of its variants: the result's part, and what is too long for a result."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from consumers.scoring import summary
from consumers.scoring.table import ScoreTable
from schemas.kinds.evaluation import EvaluationInput, Gate
from schemas.kinds.evaluation.carries import Planned
from schemas.kinds.evaluation.result import ItemCounts, Judged

FEW: Final = 30
"""Below so many items a report says that they are few."""

Others = Mapping[tuple[str, str], ScoreTable]
"""The tables of earlier runs, by items file and variant; the first of each file also without a variant."""


def told_by(
    request: EvaluationInput,
    planned: Planned | None,
    tables: Sequence[ScoreTable],
    others: Others,
    judged: Judged | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the result says, and the figures with what is too long for it: breakdowns, histograms, the worst answers."""
    seed = request.seed
    known = list(dict.fromkeys(name for table in tables for name in table.metrics))
    wanted = known if request.metrics is None else [*request.metrics, *(one.name for one in request.graders)]
    metrics = [name for name in wanted if name in known]
    variants = [summary.variant_result(table, metrics, seed=seed) for table in tables]
    compared = [name for name in metrics if name in tables[0].metrics]
    comparisons = [summary.comparison(table, tables[0], compared, seed=seed) for table in tables[1:]]
    gates = [
        summary.gate_result(gate, table, _against(gate, table, tables, others), seed=seed)
        for gate in request.gates
        for table in tables
        if gate.applies_to(table.variant)
    ]
    answers, succeeded = sum(len(table.ids) for table in tables), sum(table.succeeded for table in tables)
    counts = ItemCounts(
        total=len(tables[0].ids) if planned is None else planned.count,
        unanswerable=0 if planned is None else planned.unanswerable,
        answers=answers,
        succeeded=succeeded,
        failed=answers - succeeded,
        reused=0 if planned is None else planned.reused_count,
        asked_again=0 if planned is None else planned.asked_again,
    )
    told: dict[str, Any] = {
        "items": counts.model_dump(),
        "variants": [one.model_dump() for one in variants],
        "comparisons": [one.model_dump() for one in comparisons],
        "gates": [one.model_dump() for one in gates],
        "passed": all(one.passed for one in gates) if gates else None,
        "judged": None if judged is None else judged.model_dump(),
        "warnings": [*_warnings(tables, counts), *_of_judges(tables, judged)],
    }
    more: dict[str, Any] = {
        "details": [
            {
                "variant": table.variant,
                "primary": table.primary,
                "histogram": [] if table.primary is None else summary.histogram(table, table.primary),
                "breakdown": _breakdown(request, table, metrics),
                "worst": table.worst(),
            }
            for table in tables
        ]
    }
    return told, {**told, **more}


def _breakdown(request: EvaluationInput, table: ScoreTable, metrics: Sequence[str]) -> dict[str, Any]:
    if request.breakdown is None:
        return {}
    groups = summary.breakdown(table, metrics, seed=request.seed)
    return {name: {m: one.model_dump() for m, one in found.items()} for name, found in groups.items()}


def _against(gate: Gate, table: ScoreTable, tables: Sequence[ScoreTable], others: Others) -> ScoreTable | None:
    """The table that a gate compares with: the same variant of an earlier run, else its first; None for `min`."""
    if gate.not_worse_than is None:
        return None
    if gate.other_run is not None:
        return others.get((gate.other_run, table.variant)) or others[gate.other_run, ""]
    return next(one for one in tables if one.variant == gate.not_worse_than)


def _warnings(tables: Sequence[ScoreTable], counts: ItemCounts) -> list[str]:
    found = []
    if counts.failed:
        found.append(f"{counts.failed:,} of {counts.answers:,} answers failed; `strict` counts them as 0")
    if counts.total < FEW:
        found.append(f"{counts.total} items are few: differences below the detectable one say nothing")
    lone = [table.variant for table in tables[1:] if not set(table.places()) & set(tables[0].places())]
    found += [f"{name!r} has no item in common with {tables[0].variant!r}" for name in lone]
    return found


def _of_judges(tables: Sequence[ScoreTable], judged: Judged | None) -> list[str]:
    """What makes one doubt the scores of models."""
    found = []
    if judged is not None:
        if judged.judges_itself:
            named = ", ".join(repr(variant) for variant in judged.judges_itself)
            found.append(f"the judge {judged.judge} also wrote the answers of {named}: models favour what they wrote")
        if judged.stopped:
            found.append("the ceiling was reached: the scores that the judge had not given by then are missing")
        found += [
            f"{count:,} scores could not be had ({code}): {judged.messages.get(code, 'see the items file')}"
            for code, count in judged.unscored.items()
            if code != "ceiling_reached"
        ]
    for table in tables[1:]:
        pairs = ((name, tables[0].by.get(name), table.by.get(name)) for name in table.by)
        apart = [name for name, ours, theirs in pairs if ours is not None and ours != theirs]
        if apart:
            found.append(f"{table.variant!r} and {tables[0].variant!r} have other judges: {', '.join(apart)}")
    return found
