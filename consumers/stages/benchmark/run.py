"""The stage of `benchmark` that asks the model: it runs in the workers that serve it, on a topic of the model.

A try that follows another, after a kill or an outage, finds what the model has said already.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

import orjson

from consumers.stages.benchmark.asking import Asker
from consumers.stages.benchmark.harnessed import Harnessed
from consumers.stages.benchmark.measuring import Measuring
from consumers.stages.benchmark.tracked import track
from consumers.stages.context import StageJob
from consumers.stages.naming import judge_name
from consumers.stages.patience import patient
from consumers.stages.pieces import pieces
from consumers.stages.ports import Blobs, Ports, needs
from schemas.adapters import ReadyAdapter
from schemas.kinds.benchmark import BenchmarkInput, LmEvalTask
from schemas.kinds.benchmark.result import BenchmarkResult, Planned, TaskResult
from schemas.outcomes import Done, Outcome
from schemas.text import TextOptions
from schemas.version import version

NEEDS: Final = needs(
    Ports.adapters, Ports.blobs, Ports.files, Ports.harness, Ports.judgements, Ports.text_model, Ports.tracker
)

PURPOSE: Final = "evals"
LINES_TYPE: Final = "application/x-ndjson"
PIECE: Final = 1024 * 1024
Job = StageJob[BenchmarkInput, Planned]


async def run(job: Job, ports: Ports) -> Outcome:
    """Put every item to the model, and tell the figures.

    Raises what `TextModel` raises, but for what meets one item alone, `NotFound` for a file that was removed meanwhile,
    and what `Harness` raises.
    """
    async with ports.adapters.ready(job.tenant, job.model, job.input.model) as adapter:
        asker = _asker(job, ports, adapter)
        with TemporaryFile() as samples:
            tasks = [
                Measuring(task, await ports.files.find(task.file), digest, count)
                for task, digest, count in zip(job.input.tasks, job.carry.sha256, job.carry.counts, strict=True)
                if not isinstance(task, LmEvalTask)
            ]
            async with aclosing(_lines(job, ports.blobs, asker, tasks)) as lines:
                async for line in lines:
                    samples.write(line)
            by_lm_eval, versions = await _by_lm_eval(job, ports, asker, samples)
            file = await patient(
                lambda: ports.files.publish(_read(samples), "samples.jsonl", PURPOSE, content_type=LINES_TYPE)
            )
    result = BenchmarkResult(
        model=asker.identity[1],
        tasks=[*(task.result for task in tasks), *by_lm_eval],
        asked=asker.asked,
        reused=asker.reused,
        tokens=asker.tokens,
        samples=file,
        versions={"welip": version()} | versions,
        tracking=None,
    )
    result.tracking = await track(job, ports.tracker, result)
    return Done(result.model_dump())


def _asker(job: Job, ports: Ports, adapter: ReadyAdapter | None) -> Asker:
    name = judge_name(job.input.model, None, ports.deployment.models)
    return Asker(
        ports.text_model,
        ports.judgements,
        job.id,
        (job.tenant, name, "" if adapter is None else adapter.name),
        TextOptions(lane=job.lane, adapter=None if adapter is None else adapter.where),
        job.input.reuse,
    )


async def _by_lm_eval(
    job: Job, ports: Ports, asker: Asker, samples: IO[bytes]
) -> tuple[list[TaskResult], dict[str, str]]:
    """The figures of lm-eval's tasks, and its version; its samples are added to the others."""
    tasks = [task for task in job.input.tasks if isinstance(task, LmEvalTask)]
    if not tasks:
        return [], {}
    if not await ports.harness.ready():
        await job.report(0, 0, "making the environment of lm-eval, once: it takes a minute")
        await ports.harness.prepare()
    await job.report(0, 0, "lm-eval reads its tasks")
    one = Harnessed(tasks, job.input.limit, asker, lambda done, total: job.report(done, total, "lm-eval"))
    async with ports.harness.workspace() as folder:
        results, ended = await one.run(ports.harness, ports.blobs, ports.files, folder)
        async for piece in pieces(Path(ended.samples)):
            samples.write(piece)
    return results, {"lm_eval": ended.lm_eval}


async def _lines(job: Job, blobs: Blobs, asker: Asker, tasks: Sequence[Measuring]) -> AsyncGenerator[bytes]:
    """The samples of all tasks, one task after the other, with progress meanwhile."""
    done, total, began = 0, sum(job.carry.counts), time.monotonic()
    for task in tasks:
        async with aclosing(task.samples(blobs, asker)) as samples:
            async for sample in samples:
                yield orjson.dumps(sample, option=orjson.OPT_APPEND_NEWLINE)
                done += 1
                rate = done / max(time.monotonic() - began, 1e-9)
                await job.report(done, total, f"{task.task.name} · {rate:,.1f}/s")


async def _read(file: IO[bytes]) -> AsyncIterator[bytes]:
    """The file from its start. It has no name, so nothing is left of it when the worker is killed."""
    file.seek(0)
    while piece := await asyncio.to_thread(file.read, PIECE):
        yield piece
