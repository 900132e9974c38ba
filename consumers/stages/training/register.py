"""The last stage of `training`: what was made gets the name that requests may use, and what is left over is removed."""

from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from schemas.adapters import NewAdapter
from schemas.errors import JobError
from schemas.kinds.training import TrainingInput
from schemas.kinds.training.carries import Trained
from schemas.outcomes import Done, Fail, Outcome

NEEDS: Final = needs(Ports.adapter_registry, Ports.blobs)


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
    base = ports.deployment.models.wanted(request.base_model, "chat", field="input.base_model")
    new = NewAdapter(base=base.name, name=request.register_as, file=result.adapter)
    try:
        model = await ports.adapter_registry.registered(job.tenant, new)
    except JobError as error:
        if error.retryable:
            raise
        return Fail(error, result.model_dump())
    return Done(result.model_copy(update={"model": model, "registered": True}).model_dump())
