"""What was trained gets the name that requests may use, what is left over is removed, and the gate begins."""

from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from consumers.stages.training.lineage import lineage_of
from consumers.stages.training.trainable import base_of
from schemas.adapters import NewAdapter
from schemas.errors import JobError
from schemas.ids import shown
from schemas.kinds.training import TrainingInput
from schemas.kinds.training.carries import Registered, Trained
from schemas.outcomes import Child, Done, Fail, FanOut, Outcome
from schemas.tracking import MAIN, NewRun

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
        model = await ports.adapter_registry.registered(
            job.tenant, new, lineage_of(job.id, request, result, base, job.started_at), run
        )
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
