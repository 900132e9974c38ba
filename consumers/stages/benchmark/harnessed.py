"""lm-eval's tasks in a benchmark: its process asks, the model of this worker answers, and its figures are read."""

import math
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from consumers.stages.benchmark.asking import Asker
from consumers.stages.pieces import fetched
from consumers.stages.ports import Blobs, Files, Harness
from schemas.errors import EngineClosed, EngineRefused
from schemas.kinds.benchmark import LmEvalTask
from schemas.kinds.benchmark.harness import Answered, Asked, Asking, Ended, HarnessPlan, HarnessTask, Told
from schemas.kinds.benchmark.result import Measured, TaskResult
from schemas.text import Message

STDERR: Final = "_stderr"


@dataclass
class Harnessed:
    """One run of lm-eval for all of a job's tasks that are its. `progress` is told what is done, and of how much."""

    tasks: list[LmEvalTask]
    limit: int | None
    asker: Asker
    progress: Callable[[int, int], Awaitable[None]]
    refused: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    messages: dict[str, str] = field(default_factory=dict)
    done: int = 0
    total: int = 0

    async def run(self, harness: Harness, blobs: Blobs, files: Files, folder: Path) -> tuple[list[TaskResult], Ended]:
        """The figures, and where lm-eval left its samples. Raises what `Harness.run` and the model raise."""
        asked: list[HarnessTask] = []
        for task in self.tasks:
            data: str | None = None
            if task.file is not None:
                archive = folder / f"{len(asked)}.zip"
                await fetched(blobs, (await files.find(task.file)).blob, archive)
                data = str(archive)
            asked.append(HarnessTask(name=task.title, task=task.task, shots=task.shots, data=data, chat=task.chat))
        plan = HarnessPlan(tasks=asked, folder=str(folder), limit=self.limit)
        ended = await harness.run(plan, self._answer, self._count)
        return [result for told in ended.tasks for result in self._results(told)], ended

    def _count(self, asking: Asking) -> None:
        self.total += asking.count

    async def _answer(self, asked: Asked) -> Answered:
        if asked.continuations is not None:
            found = await self.asker.likelihoods(asked.context, asked.continuations)
            answered = Answered(id=asked.id, likelihoods=[(one.logprob, one.greedy) for one in found])
        else:
            answered = Answered(id=asked.id, text=await self._written(asked))
        self.done += 1
        await self.progress(self.done, self.total)
        return answered

    async def _written(self, asked: Asked) -> str:
        turns: Any = orjson.loads(asked.context) if asked.chat else [{"role": "user", "content": asked.context}]
        try:
            return await self.asker.written(
                [Message(turn["role"], turn["content"]) for turn in turns],
                raw=not asked.chat,
                max_tokens=asked.max_tokens,
                temperature=asked.temperature,
                stop=asked.stop,
                nth=asked.nth,
            )
        except EngineClosed:
            raise
        except EngineRefused as error:  # this text alone: it counts as one that is wrong
            self.refused[asked.task][error.reason] += 1
            self.messages.setdefault(error.reason, error.message[:500])
            return ""

    def _results(self, told: Told) -> list[TaskResult]:
        (task,) = (one.task for one in self.tasks if one.title == told.name)
        refused = self.refused[told.name]
        return [
            TaskResult(
                name=told.name if name == task else f"{told.name}.{name}",
                type="lm_eval",
                items=told.items.get(name, 0),
                metrics=metrics(found),
                # Of a group only the whole is known: lm-eval counts such a text as one that is wrong.
                unscored=dict(refused) if at == 0 else {},
                messages={code: self.messages[code] for code in refused} if at == 0 else {},
                version=told.versions.get(name),
                shots=told.shots.get(name),
            )
            for at, (name, found) in enumerate(sorted(told.results.items(), key=lambda one: one[0] != task))
        ]


def metrics(found: Mapping[str, Any]) -> dict[str, Measured]:
    """lm-eval's figures: `acc,none` with `acc_stderr,none`. A filter that is not `none` stays in the name."""
    told: dict[str, Measured] = {}
    for key, value in found.items():
        name, comma, filtered = key.partition(",")
        if not comma or name.endswith(STDERR) or not _is_number(value):
            continue
        stderr: Any = found.get(f"{name}{STDERR},{filtered}")
        title = name if filtered == "none" else f"{name}.{filtered}"
        told[title] = Measured(value=float(value), stderr=float(stderr) if _is_number(stderr) else None)
    return told


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
