"""The report of an evaluation as a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from consumers.pages.templates import template
from consumers.stages.evaluation.words import METRICS, WORDS
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.metrics import at_k

COLOURS: Final = 8
"""Colours of variants in the template's style sheet; more variants begin again with the first."""


def page(request: EvaluationInput, figures: Mapping[str, Any]) -> str:
    """The page, in the language that the evaluation asks for. Everything that comes from a tenant is escaped."""
    words = WORDS[request.language]
    variants = figures["variants"]
    metrics = list(dict.fromkeys(name for variant in variants for name in variant["metrics"]))
    return template(Path(__file__).parent, "report.html.j2").render(
        language=request.language,
        title=request.title or words["title"],
        words=words,
        figures=figures,
        variants=variants,
        metrics=metrics,
        having={name: [one for one in variants if name in one["metrics"]] for name in metrics},
        of_variant={variant["name"]: variant["metrics"] for variant in variants},
        about={name: _about(name, request.language) + _by(name, variants) for name in metrics},
        breakdown=request.breakdown,
        colour={variant["name"]: at % COLOURS for at, variant in enumerate(variants)},
        reach=_reach(figures["comparisons"]),
    )


def _about(name: str, language: str) -> str:
    """One sentence on a metric."""
    found = at_k(name)
    if found is None:
        return METRICS[language].get(name, WORDS[language]["grader"])
    return METRICS[language][found[0]].format(k=found[1])


def _by(name: str, variants: Sequence[Mapping[str, Any]]) -> str:
    """The models that gave the scores."""
    found = dict.fromkeys(told["by"] for one in variants if (told := one["metrics"].get(name)) and told["by"])
    return f" · {', '.join(found)}" if found else ""


def _reach(comparisons: list[dict[str, Any]]) -> float:
    """How far the axis of differences goes to either side of 0: three times the median end of an interval.

    A metric of a few items would otherwise squeeze all others to a point; its bar leaves the axis instead.
    """
    ends = [max(map(abs, told["ci95"])) for one in comparisons for told in one["metrics"].values()]
    some = [end for end in ends if end > 0]
    return max(0.01, min(max(some), 3 * median(some))) * 1.05 if some else 0.01
