"""The only stage of `noop`: waits, reporting progress, and is done."""

import asyncio

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports
from schemas.kinds.noop import NoopInput
from schemas.outcomes import Done, Outcome


async def run(job: StageJob[NoopInput, None], ports: Ports) -> Outcome:
    """Sleep `sleep_s` seconds in `steps` equal steps."""
    request = job.input
    for step in range(request.steps):
        if request.sleep_s:
            await asyncio.sleep(request.sleep_s / request.steps)
        if request.steps > 1:
            await job.report(step + 1, request.steps, None)
    return Done({})
