"""The last stage of `search`: the best trial, what mattered, and a page; the best adapter gets its name."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from consumers.stages.search.page import page
from consumers.stages.search.remarks import SENTENCES, of_trials
from consumers.stages.search.studies import best_of, importance
from consumers.stages.search.trials import ended_trials
from consumers.stages.training.lineage import lineage_of
from consumers.stages.training.train import PURPOSE
from consumers.stages.training.trainable import base_of
from schemas.adapters import NewAdapter
from schemas.errors import JobError, SearchFailed
from schemas.kinds.search import SearchInput, SearchResult
from schemas.outcomes import Done, Fail, Outcome
from schemas.remarks import told

NEEDS: Final = needs(Ports.adapter_registry, Ports.children, Ports.files, Ports.optimiser, Ports.trials)

Job = StageJob[SearchInput, None]


async def run(job: Job, ports: Ports) -> Outcome:
    """Publish `report.html`, and register the best adapter if a name was asked for; a repeated try finds it registered.

    A search without a complete trial fails with `trials_failed`. What cannot be registered stays the job's result.
    """
    request = job.input
    await ports.optimiser.ready()
    trials = await ended_trials(job, ports)
    await job.report(0, 0, "comparing the trials")
    best = await asyncio.to_thread(best_of, request, trials)
    remarks = of_trials(request, trials)
    result = SearchResult(
        trials=[one.view(kept=one.number in best) for one in trials],
        best=best,
        importance=await asyncio.to_thread(importance, request, trials),
        model=None,
        registered=False,
        report="",
        seconds=round((datetime.now(UTC) - job.started_at).total_seconds(), 3),
        warnings=told(remarks, SENTENCES, "en"),
    )
    html = await asyncio.to_thread(page, request, trials, result, remarks)

    async def whole() -> AsyncIterator[bytes]:
        yield html.encode()

    result.report = await ports.files.publish(whole(), "report.html", PURPOSE, content_type="text/html; charset=utf-8")
    if not best:
        return Fail(SearchFailed("no trial is complete, so none is the best"), result.model_dump())
    if request.register_as is None:
        return Done(result.model_dump())
    await job.report(0, 0, f"registering {request.base_model}:{request.register_as}")
    winner = next(one for one in trials if one.number in best)
    training = winner.training
    assert training is not None  # it is complete
    base = base_of(request, ports.deployment.models)
    new = NewAdapter(base=base.name, name=request.register_as, file=training.adapter)
    recipe = request.model_copy(update={"hyperparameters": request.varied(winner.params)})
    lineage = lineage_of(winner.id, recipe, training, base, job.started_at)
    run = None if training.tracking is None else UUID(training.tracking.run)
    try:
        result.model = await ports.adapter_registry.registered(job.tenant, new, lineage, run)
    except JobError as error:
        if error.retryable:
            raise
        return Fail(error, result.model_dump())
    result.registered = True
    return Done(result.model_dump())
