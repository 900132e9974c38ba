"""All that a report tells, from the tables of its variants: the result's part, and what is too long for a result."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from consumers.scoring import summary
from consumers.scoring.doubts import SENTENCES, doubts
from consumers.scoring.table import ScoreTable
from schemas.kinds.evaluation import EvaluationInput, Gate
from schemas.kinds.evaluation.carries import Planned
from schemas.kinds.evaluation.judge import CEILING
from schemas.kinds.evaluation.result import ItemCounts, Judged
from schemas.remarks import told as worded

_OF_THE_COURSE: Final = {"calls", "cached"}
"""Of what the judge did, what differs when a worker died in between: the figures are those of an undisturbed run."""

Others = Mapping[tuple[str, str], ScoreTable]
"""The tables of earlier runs, by items file and variant; the first of each file also without a variant."""


def told_by(
    request: EvaluationInput,
    planned: Planned | None,
    tables: Sequence[ScoreTable],
    others: Others,
    judged: Judged | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the result says, and the figures with what is too long for it: breakdowns, histograms, the worst answers.

    Warnings are English in the result, and in the language of the report in the figures.
    """
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
        not_asked=sum(table.not_asked for table in tables),
    )
    stopped = counts.not_asked > 0 or (judged is not None and judged.stopped)
    found = list(doubts(tables, counts, judged))
    told: dict[str, Any] = {
        "items": counts.model_dump(),
        "variants": [one.model_dump() for one in variants],
        "comparisons": [one.model_dump() for one in comparisons],
        "gates": [one.model_dump() for one in gates],
        "passed": all(one.passed for one in gates) if gates else None,
        "judged": None if judged is None else judged.model_dump(),
        "stopped": CEILING if stopped else None,
        "warnings": worded(found, SENTENCES, "en"),
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
    more["warnings"] = worded(found, SENTENCES, request.language)
    more["judged"] = None if judged is None else judged.model_dump(exclude=_OF_THE_COURSE)
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
