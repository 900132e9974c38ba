"""The first stage of `benchmark`: every line of every file is an item, or the model is not asked at all."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from consumers.stages.benchmark.files import Unreadable, items
from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from schemas.errors import InvalidInput
from schemas.kinds.benchmark import MAX_BYTES, MAX_ITEMS, BenchmarkInput, BenchmarkTask, FileTask, LmEvalTask
from schemas.kinds.benchmark.result import Planned
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.files)

SHOWN: Final = 10
"""Lines at fault that the error names."""

Job = StageJob[BenchmarkInput, None]


async def run(job: Job, ports: Ports) -> Outcome:
    """Count the items of each task.

    Raises `InvalidInput` (`dataset_invalid` with the lines at fault, `dataset_empty`, `dataset_too_large`,
    `dataset_undecodable`) and `NotFound` (`file_not_found`).
    """
    counts: list[int] = []
    digests: list[str | None] = []
    for task in job.input.tasks:
        if task.file is None:
            counts.append(0)
            digests.append(None)
            continue
        file = await ports.files.find(task.file)
        if file.size > MAX_BYTES:
            raise _too_large(task, f"{file.size:,} bytes, {MAX_BYTES:,} are allowed")
        counts.append(0 if isinstance(task, LmEvalTask) else await _count(ports, task))
        digests.append(await _digest(ports.blobs.stream(file.blob)))
    if job.input.limit is not None:
        counts = [min(count, job.input.limit) for count in counts]
    return Next("run", Planned(counts=counts, sha256=digests))


async def _count(ports: Ports, task: FileTask) -> int:
    count, wrong, shown = 0, 0, list[str]()
    async with aclosing(items(ports.blobs, await ports.files.find(task.file), task)) as found:
        async for place, item in found:
            count += 1
            if count > MAX_ITEMS:
                raise _too_large(task, f"more than {MAX_ITEMS:,} items")
            if isinstance(item, Unreadable):
                wrong += 1
                if len(shown) < SHOWN:
                    shown.append(f"line {place}: {item}")
    if wrong:
        more = f"; and {wrong - len(shown):,} more" if wrong > len(shown) else ""
        why = f"lines of the task {task.name!r} are no items: {'; '.join(shown)}{more}"
        raise InvalidInput(why, code="dataset_invalid", field="input.tasks")
    if not count:
        why = f"the file of the task {task.name!r} holds nothing"
        raise InvalidInput(why, code="dataset_empty", field="input.tasks")
    return count


def _too_large(task: BenchmarkTask, much: str) -> InvalidInput:
    why = f"the file of the task {task.title!r} has {much}: split it"
    return InvalidInput(why, code="dataset_too_large", field="input.tasks")


async def _digest(pieces: AsyncIterator[bytes]) -> str:
    digest = hashlib.sha256()
    async for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
