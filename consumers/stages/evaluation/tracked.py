"""An evaluation in the experiment tracker: a run of its own, and in it one for each variant."""

from collections.abc import Mapping
from typing import Any

from consumers.stages.context import StageJob
from consumers.stages.ports import Tracker
from schemas.ids import shown
from schemas.kinds.evaluation import EvaluationInput, ModelVariant, RetrievalVariant
from schemas.kinds.evaluation.carries import Planned
from schemas.kinds.evaluation.result import Comparison, EvaluationResult, VariantResult
from schemas.tracking import MAIN, NewRun, Tracking, experiment_name


async def track(
    job: StageJob[EvaluationInput, Any], tracker: Tracker, planned: Planned, result: EvaluationResult
) -> Tracking | None:
    """Hand the figures and the report to the tracker; where it shows them, None without one.

    The items stay here, because they hold tenants' texts in full: a tag names their file.
    """
    request = job.input
    experiment = experiment_of(request)
    tags = {"welip.kind": job.kind, "welip.dataset.sha256": planned.sha256}
    if result.items_file is not None:
        tags["welip.items_file"] = result.items_file
    if result.judged is not None and result.judged.judge is not None:
        tags["welip.judge"] = result.judged.judge
    asked = {"items": planned.count, "seed": request.seed, "breakdown": request.breakdown, "language": request.language}
    main = NewRun(MAIN, experiment, request.title or shown("job", job.id), tags=tags, params=_texts(asked))
    run = await tracker.begin(main)
    if run is None:
        return None
    counts = {f"items.{name}": float(count) for name, count in result.items.model_dump().items()}
    passed = {} if result.passed is None else {"passed": float(result.passed)}
    await tracker.log(MAIN, counts | passed)
    for name, file in ("report.html", result.report), ("figures.json", result.figures):
        await tracker.attach(MAIN, name, file)
    compared = {one.variant: one for one in result.comparisons}
    for way, variant in zip(request.ways, result.variants, strict=True):
        nested = NewRun(way.name, experiment, way.name, MAIN, tags | {"welip.variant": way.name}, _params(request, way))
        await tracker.begin(nested)
        await tracker.log(way.name, _figures(variant) | _gains(compared.get(way.name)))
    return Tracking(experiment=experiment_name(job.tenant, experiment), run=str(run))


def experiment_of(request: EvaluationInput) -> str:
    """The tenant's name for the experiment: as the input says, else the first variant's collection or model."""
    if request.experiment is not None:
        return request.experiment
    first = request.ways[0]
    return first.model if isinstance(first, ModelVariant) else str(first.collection or request.collection)


def _params(request: EvaluationInput, way: RetrievalVariant | ModelVariant) -> dict[str, str]:
    """The settings of a variant, nested ones as `generate.temperature`."""
    given = way.model_dump(mode="json", exclude={"name"})
    if isinstance(way, RetrievalVariant):
        given["collection"] = way.collection or request.collection
        given |= {f"generate.{name}": value for name, value in (given.pop("generate") or {}).items()}
    return _texts(given)


def _texts(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value not in (None, {}, [])}


def _figures(variant: VariantResult) -> dict[str, float]:
    found: dict[str, float] = {
        "answers.succeeded": variant.succeeded,
        "answers.failed": variant.failed,
        "tokens": variant.tokens,
    }
    for name, told in variant.metrics.items():
        low, high = told.ci95
        found |= {name: told.mean, f"{name}.strict": told.strict, f"{name}.low": low, f"{name}.high": high}
        found[f"{name}.missing"] = told.missing
    if variant.latency_ms is not None:
        found |= {f"latency_ms.{name}": value for name, value in variant.latency_ms.model_dump().items()}
    return found


def _gains(comparison: Comparison | None) -> dict[str, float]:
    """The gain over the baseline, with its corrected p-value."""
    found: dict[str, float] = {}
    for name, told in ({} if comparison is None else comparison.metrics).items():
        found |= {f"{name}.gain": told.gain, f"{name}.p": told.p_adjusted}
    return found
