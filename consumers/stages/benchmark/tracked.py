"""A benchmark in the experiment tracker: one run, with a metric for each figure of each task."""

from typing import Any

from consumers.stages.context import StageJob
from consumers.stages.ports import Tracker
from schemas.ids import shown
from schemas.kinds.benchmark import BenchmarkInput
from schemas.kinds.benchmark.result import BenchmarkResult
from schemas.tracking import MAIN, NewRun, Tracking, experiment_name


async def track(job: StageJob[BenchmarkInput, Any], tracker: Tracker, result: BenchmarkResult) -> Tracking | None:
    """Hand the figures to the tracker; where it shows them, None without one.

    The samples stay here, because they hold tenants' texts: a tag names their file.
    """
    request = job.input
    experiment = request.experiment or request.model.partition(":")[0]
    tags = {"welip.kind": job.kind, "welip.model": result.model, "welip.samples": result.samples}
    tags |= {f"welip.sha256.{one.name}": one.sha256 for one in result.tasks if one.sha256 is not None}
    params = {"model": request.model, "limit": "all" if request.limit is None else str(request.limit)}
    run = await tracker.begin(
        NewRun(MAIN, experiment, request.title or shown("job", job.id), tags=tags, params=params | result.versions)
    )
    if run is None:
        return None
    figures = {"tokens": float(result.tokens)}
    for task in result.tasks:
        figures[f"{task.name}.items"] = float(task.items)
        for name, metric in task.metrics.items():
            figures[f"{task.name}.{name}"] = metric.value
            if metric.stderr is not None:
                figures[f"{task.name}.{name}.stderr"] = metric.stderr
    await tracker.log(MAIN, figures)
    return Tracking(experiment=experiment_name(job.tenant, experiment), run=str(run))
