"""The second stage of `probe`, where its input wants one."""

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from schemas.outcomes import Outcome
from tests.faults import journal
from tests.faults.effects import leave
from tests.faults.probe import Letters, ProbeInput

NEEDS = needs(Ports.blobs)


async def run(job: StageJob[ProbeInput, Letters], ports: Ports) -> Outcome:
    with journal.written(job):
        return await leave(job, ports, job.carry.letters)
