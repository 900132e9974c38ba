"""A benchmark's own tasks: each item is put to the model, written down as a sample, and counted."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from consumers.stages.benchmark.asking import Asker, in_order
from consumers.stages.benchmark.files import Item, Unreadable, items
from consumers.stages.benchmark.scoring import Chosen, Predicted, asked, likeliest
from consumers.stages.ports import Blobs
from schemas.catalogue import StoredFile
from schemas.errors import EngineClosed, EngineRefused
from schemas.kinds.benchmark import ChoiceTask, FileTask
from schemas.kinds.benchmark.items import ChoiceItem, TextItem
from schemas.kinds.benchmark.result import Measured, TaskResult
from schemas.text import Likelihood

EVERY_ITEM = frozenset({"likelihoods_unsupported"})
"""Refusals that meet every item, so that the job ends with them."""

Told = tuple[int, Item, "list[Likelihood] | EngineRefused"]


@dataclass
class Measuring:
    """One task. After `samples` have been read to their end, `result` has its figures."""

    task: FileTask
    file: StoredFile
    sha256: str | None
    limit: int
    unscored: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    chosen: Chosen = field(default_factory=Chosen)
    predicted: Predicted = field(default_factory=Predicted)

    async def samples(self, blobs: Blobs, asker: Asker) -> AsyncGenerator[dict[str, Any]]:
        """A line for each item, in the order of the file.

        Raises what makes the job fail or wait: an outage, `EngineClosed`, and `EngineRefused` where it meets all items.
        """
        refused: EngineRefused | None = None
        async with aclosing(in_order(self._works(blobs, asker))) as told:
            async for place, item, found in told:
                line: dict[str, Any] = {"task": self.task.name, "row": place}
                if isinstance(found, EngineRefused):
                    refused = found
                    self.unscored[found.reason] += 1
                    self.messages.setdefault(found.reason, found.message[:500])
                    yield line | {"unscored": found.reason}
                    continue
                self.cut += any(one.cut for one in found)
                yield line | self._counted(item, found)
        if refused is not None and not self._items:
            raise refused

    @property
    def result(self) -> TaskResult:
        """The figures."""
        return TaskResult(
            name=self.task.name,
            type=self.task.type,
            items=self._items,
            metrics=_rounded(
                self.chosen.metrics(self.task) if isinstance(self.task, ChoiceTask) else self.predicted.metrics()
            ),
            unscored=dict(self.unscored),
            messages=self.messages,
            cut=self.cut,
            sha256=self.sha256,
        )

    @property
    def _items(self) -> int:
        return len(self.chosen.right) + len(self.predicted.logprobs)

    async def _works(self, blobs: Blobs, asker: Asker) -> AsyncIterator[Coroutine[Any, Any, Told]]:
        count = 0
        async with aclosing(items(blobs, self.file, self.task)) as found:
            async for place, item in found:
                if count == self.limit:
                    return
                count += 1
                assert not isinstance(item, Unreadable)  # the plan has checked them
                yield self._asked(place, item, asker)

    async def _asked(self, place: int, item: Item, asker: Asker) -> Told:
        try:
            if isinstance(item, ChoiceItem):
                assert isinstance(self.task, ChoiceTask)
                return place, item, await asker.likelihoods(*asked(self.task, item))
            return place, item, await asker.likelihoods("", [item.text])
        except EngineRefused as error:
            if isinstance(error, EngineClosed) or error.reason in EVERY_ITEM:
                raise
            return place, item, error

    def _counted(self, item: Item, found: list[Likelihood]) -> dict[str, Any]:
        if isinstance(item, TextItem):
            (told,) = found
            self.predicted.add(item.text, told)
            return {"logprob": told.logprob, "tokens": told.tokens, "bytes": len(item.text.encode())}
        best, normed = likeliest(found), likeliest(found, [len(choice) for choice in item.choices])
        self.chosen.right.append(best == item.right)
        self.chosen.normed.append(normed == item.right)
        return {
            "question": item.question,
            "choices": item.choices,
            "answer": item.right,
            "chosen": best,
            "correct": best == item.right,
            "logprobs": [round(one.logprob, 6) for one in found],
        }


def _rounded(metrics: Mapping[str, Measured]) -> dict[str, Measured]:
    def few(value: float) -> float:
        return float(f"{value:.8g}")

    return {
        name: Measured(value=few(one.value), stderr=None if one.stderr is None else few(one.stderr))
        for name, one in metrics.items()
    }
