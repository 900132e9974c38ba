"""The report of `welip tune`: the figures before and after, how certain the gain is, and how to apply it."""

from collections.abc import Sequence
from typing import Any, Final

from consumers.ranking.bootstrap import Estimate, difference, mean_interval
from consumers.tuning.choosing import Choice, held_out
from consumers.tuning.grid import Trial
from consumers.tuning.judged import Judged
from schemas.collections import CollectionSettings

KEEP: Final = "keep the settings you have"
APPLY: Final = "apply"


def changed(settings: CollectionSettings, base: CollectionSettings) -> dict[str, Any]:
    """What of `settings` differs from `base`, as a partial object that `PATCH /v1/collections/{name}` takes."""
    return _different(settings.model_dump(mode="json"), base.model_dump(mode="json"))


def report(
    trial: Trial,
    choice: Choice,
    judged: Judged,
    *,
    metric: str,
    chunks: int,
    arms: Sequence[str],
    model: str | None,
    collection: str,
) -> dict[str, Any]:
    """The report as JSON values."""
    base = trial.candidates[choice.base]
    best = trial.candidates[choice.best]
    honest = {name: held_out(values, choice.chosen_for) for name, values in trial.values.items()}
    change = changed(trial.candidates[choice.recommended], base)
    return {
        "documents": len(judged.documents),
        "repeated_documents": judged.repeated,
        "chunks": chunks,
        "questions": len(judged.questions),
        "arms": list(arms),
        "model": model,
        "metric": metric,
        "folds": len(choice.chosen),
        "candidates": len(trial.candidates),
        "base": {
            "settings": _varied(base),
            "metrics": _estimates({n: v[choice.base] for n, v in trial.values.items()}),
        },
        "best": {
            "settings": _varied(best),
            "metrics": _estimates({n: v[choice.best] for n, v in trial.values.items()}),
        },
        "held_out": {"metrics": _estimates(honest), "chosen": [_varied(trial.candidates[n]) for n in choice.chosen]},
        "gain": {
            name: _estimate(difference(values, trial.values[name][choice.base])) for name, values in honest.items()
        },
        "recommendation": APPLY if change else KEEP,
        "settings": change or None,
        "apply": {
            "command": f"welip collections set {collection} --settings FILE.json",
            "http": {"method": "PATCH", "path": f"/v1/collections/{collection}", "body": {"settings": change}},
        }
        if change
        else None,
        "grid": [
            {**_varied(settings), metric: round(float(trial.values[metric][number].mean()), 4)}
            for number, settings in enumerate(trial.candidates)
        ],
    }


def rows(found: dict[str, Any]) -> list[Sequence[str]]:
    """The table: a row a metric."""
    return [
        (
            name,
            _interval(found["base"]["metrics"][name]),
            _interval(found["held_out"]["metrics"][name]),
            _interval(found["gain"][name], sign="+"),
            f"{found['best']['metrics'][name]['mean']:.4f}",
        )
        for name in found["gain"]
    ]


def named(settings: dict[str, Any], arms: Sequence[str]) -> str:
    """Settings that vary, in a line: `k1 0.6, b 0.4, minmax sparse 0.5 dense 0.5`."""
    shown = f"k1 {settings['k1']:g}, b {settings['b']:g}"
    if len(arms) > 1:
        shown += f", {settings['method']} " + " ".join(f"{arm} {settings['weights'][arm]:g}" for arm in arms)
    return shown


def _varied(settings: CollectionSettings) -> dict[str, Any]:
    fusion = settings.fusion
    return {
        "k1": settings.sparse.k1,
        "b": settings.sparse.b,
        "method": fusion.method,
        "weights": fusion.weights.model_dump(),
    }


def _estimates(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _estimate(mean_interval(each)) for name, each in values.items()}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"mean": round(estimate.mean, 4), "ci95": estimate.ci95}


def _interval(estimate: dict[str, Any], sign: str = "") -> str:
    low, high = estimate["ci95"]
    return f"{estimate['mean']:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"


def _different(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in new.items():
        if isinstance(value, dict):
            if inner := _different(value, old[name]):
                found[name] = inner
        elif value != old[name]:
            found[name] = value
    return found
