"""A stage of `training`: what was logged becomes a page."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from consumers.stages.context import StageJob
from consumers.stages.lines import read_lines
from consumers.stages.ports import Ports, needs
from consumers.stages.training.page import page
from consumers.stages.training.train import PURPOSE
from schemas.kinds.training import TrainingInput
from schemas.kinds.training.carries import Trained
from schemas.kinds.training.trial import TrialInput
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.files)


async def run(job: StageJob[TrainingInput, Trained], ports: Ports) -> Outcome:
    """Publish `report.html`. A trial has none: its search reports on all trials together."""
    carry = job.carry
    if isinstance(job.input, TrialInput):
        return Next("register", carry)
    await job.report(0, 0, "writing the report")
    stored = await ports.files.find(carry.result.metrics_file)
    # Not by orjson: a held-out loss may be NaN, which is no JSON.
    logged: list[dict[str, Any]] = [json.loads(line) async for line in read_lines(ports.blobs, stored.blob)]
    html = await asyncio.to_thread(page, job.input, carry.result, logged, carry.remarks)

    async def whole() -> AsyncIterator[bytes]:
        yield html.encode()

    report = await ports.files.publish(whole(), "report.html", PURPOSE, content_type="text/html; charset=utf-8")
    return Next("register", carry.model_copy(update={"result": carry.result.model_copy(update={"report": report})}))
