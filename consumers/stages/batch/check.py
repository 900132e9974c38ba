"""`check`: every line of the input is a request, or nothing is begun; then each becomes a job."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from consumers.stages.batch import requests
from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from schemas.batches.window import window
from schemas.errors import Conflict, InvalidInput, JobExpired
from schemas.ids import parsed
from schemas.kinds.batch import BatchInput, Checked
from schemas.lifecycle import JobState
from schemas.outcomes import Child, ChildStream, FanOut, Outcome
from schemas.topics import Lane

NEEDS: Final = needs(Ports.aliases, Ports.batches, Ports.blobs, Ports.files)
PURPOSE: Final = "batch"


async def run(job: StageJob[BatchInput, None], ports: Ports) -> Outcome:
    """Raises `BatchInvalid` with the lines at fault, `NotFound`, `JobExpired`, and `Conflict` for nothing to retry."""
    given = job.input
    children = await (_again(job, ports, given.retry_of) if given.retry_of else _from_file(job, ports))
    if not await ports.batches.begin(job.id, children.count, window(given.completion_window).total_seconds()):
        raise JobExpired(f"the completion window of {given.completion_window} ended before the batch was begun")
    return FanOut(children, then="assemble", carry=Checked(lines=children.count), lane=Lane.BULK)


async def _from_file(job: StageJob[BatchInput, None], ports: Ports) -> ChildStream:
    given = job.input
    models = ports.deployment.models.of_tenant(await ports.aliases.champions(job.tenant))
    file = await ports.files.find(given.input_file_id)
    if file.purpose != PURPOSE:
        why = f"the file's purpose is {file.purpose!r}: upload it with `batch`"
        raise InvalidInput(why, code="wrong_purpose", field="input.input_file_id")
    count = await requests.checked(ports.blobs, file.blob, file.size, given.endpoint, models)

    async def each() -> AsyncIterator[Child]:
        async for line in requests.jobs(ports.blobs, file.blob, given.endpoint, models):
            yield Child(
                line.kind, line.input, key=line.custom_id, max_attempts=line.max_attempts, timeout_s=line.timeout_s
            )

    return ChildStream(count, each)


async def _again(job: StageJob[BatchInput, None], ports: Ports, before: str) -> ChildStream:
    earlier = parsed("batch", before)
    counts = await ports.batches.counts(earlier, job.tenant)
    undone = counts.get(JobState.FAILED, 0) + counts.get(JobState.CANCELLED, 0)
    if not undone:
        raise Conflict(f"nothing of {before} is to be done again", code="nothing_failed", field="input.retry_of")
    return ChildStream(undone, partial(ports.batches.undone, earlier, job.tenant))
