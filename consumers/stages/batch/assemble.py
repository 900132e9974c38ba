"""`assemble`: what became of each line, in a file of answers and a file of errors."""

from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from schemas.batches.output import Closing, output
from schemas.errors import JobExpired
from schemas.kinds.batch import BatchInput, BatchResult, Checked, LineCounts
from schemas.lifecycle import JobState
from schemas.outcomes import Cancelled, Done, Fail, Outcome

NEEDS: Final = needs(Ports.batches, Ports.blobs, Ports.files)
PURPOSE: Final = "batch_output"
NOT_DONE: Final = (JobState.FAILED, JobState.CANCELLED)


async def run(job: StageJob[BatchInput, Checked], ports: Ports) -> Outcome:
    """Publish the files, also those of a batch that was closed early. A repeated try replaces them."""
    closing = await ports.batches.finalize(job.id)
    counts = await ports.batches.counts(job.id, job.tenant)
    completed, failed = counts.get(JobState.SUCCEEDED, 0), sum(counts.get(state, 0) for state in NOT_DONE)
    result = BatchResult(
        request_counts=LineCounts(total=job.carry.lines, completed=completed, failed=failed),
        output_file_id=await _file(job, ports, "output", closing, JobState.SUCCEEDED) if completed else None,
        error_file_id=await _file(job, ports, "error", closing, *NOT_DONE) if failed else None,
    ).model_dump()
    if closing == "cancelled":
        return Cancelled(result)
    if closing == "expired" and counts.get(JobState.CANCELLED):
        window = job.input.completion_window
        return Fail(JobExpired(f"the completion window of {window} ended before all lines were done"), result)
    return Done(result)


async def _file(
    job: StageJob[BatchInput, Checked], ports: Ports, name: str, closing: Closing | None, *states: JobState
) -> str:
    async def content(file_id: str) -> bytes:
        return await ports.blobs.get((await ports.files.find(file_id)).blob)

    lines = output(ports.batches.ends(job.id, *states), job.input.endpoint, closing, content)
    return await ports.files.publish(
        lines,
        f"batch_{job.id.hex}_{name}.jsonl",
        PURPOSE,
        content_type="application/jsonl",
        lives_s=job.input.output_lives_s,
    )
