"""What was trained gets the name that requests may use, what is left over is removed, and the gate begins."""

from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from consumers.stages.training.trainable import Base, base_of
from schemas.adapters import NewAdapter
from schemas.errors import JobError
from schemas.ids import shown
from schemas.kinds.training import Chosen, TrainingInput, TrainingResult
from schemas.kinds.training.carries import Registered, Trained
from schemas.lineage import Lineage
from schemas.outcomes import Child, Done, Fail, FanOut, Outcome
from schemas.tracking import MAIN, NewRun
from schemas.version import version

NEEDS: Final = needs(Ports.adapter_registry, Ports.blobs, Ports.tracker)


async def run(job: StageJob[TrainingInput, Trained], ports: Ports) -> Outcome:
    """Register the adapter, if a name was asked for; a repeated try finds it registered.

    What cannot be registered stays the job's result.
    """
    request, result = job.input, job.carry.result
    for leftover in job.carry.leftovers:
        await ports.blobs.delete(leftover)
    if request.register_as is None:
        return Done(result.model_dump())
    await job.report(0, 0, f"registering {request.base_model}:{request.register_as}")
    base = base_of(request, ports.deployment.models)
    new = NewAdapter(base=base.name, name=request.register_as, file=result.adapter)
    run = await ports.tracker.begin(NewRun(MAIN, f"{base.name}:{request.register_as}", shown("job", job.id)))
    try:
        model = await ports.adapter_registry.registered(job.tenant, new, _lineage(job, base), run)
    except JobError as error:
        if error.retryable:
            raise
        return Fail(error, result.model_dump())
    result = result.model_copy(update={"model": model, "registered": True})
    if request.gate is None:
        return Done(result.model_dump())
    await job.report(0, 0, f"is {model} as good as what {request.gate.alias!r} points to?")
    promotion = Child("promotion", request.gate.promotion(model, result.data.questions), key="gate")
    return FanOut([promotion], then="conclude", carry=Registered(result=result), lane=job.lane)


def _lineage(job: StageJob[TrainingInput, Trained], base: Base) -> Lineage:
    """What made the adapter, from what was recorded of it."""
    request, result = job.input, job.carry.result
    asked = request.hyperparameters.model_dump()
    return Lineage(
        job=shown("job", job.id),
        base=base.name,
        weights=None if base.in_folder else base.weights,
        revision=base.revision,
        code=version(),
        method=request.method,
        adapter=request.adapter,
        dataset=result.data.dataset,
        validation=result.data.validation,
        rows=result.data.rows,
        held_out=result.data.validation_rows,
        tokens=result.data.tokens,
        archive=result.adapter,
        parameters={**asked, **result.settings.model_dump(include=set(asked) & set(Chosen.model_fields))},
        metrics=_numbers(result),
        trained_at=job.started_at.isoformat(timespec="seconds"),
    )


def _numbers(result: TrainingResult) -> dict[str, float]:
    return {name: value for name, value in result.metrics.model_dump().items() if value is not None}
