"""A scored answer, read back from its line: what a model needs to know of it, and which scores are still open."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from consumers.scoring.given import Given, compared
from consumers.scoring.places import places_of
from consumers.stages.lines import read_lines
from consumers.stages.ports import Blobs
from schemas.kinds.evaluation.items import Item
from schemas.kinds.evaluation.judge import Slice

CONTEXTS: Final = "{{sample.contexts}}"


@dataclass(frozen=True, slots=True)
class Line:
    """One answer. `text`: what is compared with references; empty when it says "not found". `open`: names of scores."""

    key: str
    question: str
    text: str
    references: Sequence[str]
    contexts: Sequence[str]
    open: Sequence[str]
    places: dict[str, str] = field(default_factory=dict)


async def lines_of(blobs: Blobs, part: Slice) -> AsyncIterator[Line]:
    """The answers of a slice that have succeeded."""
    async for raw in read_lines(blobs, part.blob, start=part.start, length=part.length):
        line: dict[str, Any] = orjson.loads(raw)
        if line["state"] != "succeeded":
            continue
        item = Item(id=line["item"], row=line["row"], question=line["question"], references=line["references"])
        given = Given(succeeded=True, text=line["answer"], found=bool(line["found"]))
        contexts = line["contexts"]
        yield Line(
            key_of(line),
            item.question,
            compared(given),
            item.references,
            contexts,
            [name for name, value in line["scores"].items() if value is None],
            {**places_of(item, given), CONTEXTS: "\n\n".join(contexts)},
        )


def key_of(line: dict[str, Any]) -> str:
    """What names an answer in the results of slices."""
    return f"{line['row']}/{line['variant']}"
