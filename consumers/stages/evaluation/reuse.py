"""Answers of earlier evaluations are not asked for again: found before the questions go out, kept afterwards."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from consumers.stages.context import StageJob
from consumers.stages.lines import read_lines
from consumers.stages.ports import ChildSummary, KnownAnswer, Ports
from schemas.adapters import named_adapter
from schemas.errors import NotFound
from schemas.kinds.evaluation import EvaluationInput, ModelVariant, RetrievalVariant
from schemas.kinds.evaluation.carries import Planned
from schemas.kinds.evaluation.items import Item
from schemas.lifecycle import JobState
from schemas.models import Models, Task

AT_ONCE: Final = 500
"""Addresses that are looked up in one statement."""

NOBODY: Final = UUID(int=0)
"""In place of a child, where an answer was not asked for."""

Way = RetrievalVariant | ModelVariant


async def digests(request: EvaluationInput, ports: Ports, tenant: str) -> dict[str, str]:
    """Of each variant whose answers may be reused: what shapes them besides the question.

    Settings, the collection's content, and the deployment's models, prompts and version. A variant is left out when its
    model's name may come to mean another model, or its collection is missing.
    """
    if not request.reuse:
        return {}
    found: dict[str, str] = {}
    for way in request.ways:
        content: str | None = None
        if isinstance(way, RetrievalVariant):
            collection = way.collection or request.collection
            assert collection is not None  # the input's model checks it
            content = await ports.catalogue.content(tenant, collection)
            if content is None:
                continue
            content = f"{collection}.{content}"
        if _pinned(way, ports.deployment.models):
            shape = [way.model_dump(mode="json", exclude={"name"}), content, ports.deployment.digest]
            found[way.name] = hashlib.sha256(orjson.dumps(shape, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return found


def address(digest: str, question: str) -> bytes:
    """What stands for a question asked in this way."""
    return hashlib.sha256(f"{digest}\n{question}".encode()).digest()


async def take_known(
    job: StageJob[EvaluationInput, Any], ports: Ports, items: Sequence[Item], ways: Mapping[str, str], key: str
) -> set[str]:
    """Write the known answers as lines under the blob `key`; returns the keys of the children they save."""
    taken: set[str] = set()
    if ways:
        names = [way.name for way in job.input.ways]
        wanted = [
            (f"{item.row}/{name}", address(ways[name], item.question))
            for item in items
            for name in names
            if name in ways
        ]
        await ports.blobs.put_stream(key, _known(job, ports, wanted, taken), content_type="application/x-ndjson")
        if not taken:
            await ports.blobs.delete(key)
    return taken


async def _known(
    job: StageJob[EvaluationInput, Any], ports: Ports, wanted: Sequence[tuple[str, bytes]], taken: set[str]
) -> AsyncIterator[bytes]:
    for first in range(0, len(wanted), AT_ONCE):
        page = wanted[first : first + AT_ONCE]
        found = await ports.answers.find(job.tenant, [where for _, where in page])
        lines = []
        for child, where in page:
            if where in found and (result := await _whole(ports, found[where])) is not None:
                taken.add(child)
                lines.append(orjson.dumps({"key": child, "kind": found[where].kind, "result": result}) + b"\n")
        yield b"".join(lines)


async def _whole(ports: Ports, answer: KnownAnswer) -> dict[str, Any] | None:
    """The result itself: what is a file of an earlier job may be gone before it is scored. None if it is gone now."""
    if set(answer.result) != {"file"}:
        return answer.result
    try:
        stored = await ports.files.find(answer.result["file"])
        result: dict[str, Any] = orjson.loads(await ports.blobs.get(stored.blob))
    except NotFound:
        return None
    return result


async def reused(ports: Ports, planned: Planned) -> AsyncIterator[ChildSummary]:
    """The answers that were not asked for, as if children had given them, in the order of items and variants."""
    if planned.reused is not None:
        async for line in read_lines(ports.blobs, planned.reused):
            told = orjson.loads(line)
            yield ChildSummary(told["key"], told["kind"], 0, JobState.SUCCEEDED, {}, told["result"], None, NOBODY)


class Memory:
    """Remembers the answers of this run, except of variants whose collection changed while their questions were asked.

    `await memory.add(item.question, "five", child)`, and `await memory.keep()` at the end.
    """

    def __init__(self, ports: Ports, tenant: str, ways: Mapping[str, str]) -> None:
        self._ports = ports
        self._tenant = tenant
        self._ways = ways
        self._new: dict[bytes, UUID] = {}

    @classmethod
    async def of(cls, job: StageJob[EvaluationInput, Planned], ports: Ports) -> "Memory":
        """The memory for a run whose questions have been answered."""
        now = await digests(job.input, ports, job.tenant)
        before = job.carry.ways
        return cls(ports, job.tenant, {name: digest for name, digest in before.items() if now.get(name) == digest})

    async def add(self, question: str, variant: str, child: ChildSummary) -> None:
        """Remember what a child answered, if it did."""
        if variant in self._ways and child.id != NOBODY and child.state is JobState.SUCCEEDED:
            self._new[address(self._ways[variant], question)] = child.id
            if len(self._new) >= AT_ONCE:
                await self.keep()

    async def keep(self) -> None:
        """Write down what was added."""
        if self._new:
            await self._ports.answers.remember(self._tenant, self._new)
            self._new = {}


def _pinned(way: Way, models: Models) -> bool:
    """Whether the name of the variant's model always means the same: that of a model, or a version of an adapter."""
    if isinstance(way, RetrievalVariant):
        return way.generate is None or _always_means_the_same(way.generate.model, "answers", models)
    return _always_means_the_same(way.model, "chat", models)


def _always_means_the_same(name: str, task: Task, models: Models) -> bool:
    adapter = named_adapter(name)
    return models.find(name, task) is not None or (adapter is not None and adapter.version is not None)
