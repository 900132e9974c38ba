"""A rebuild: cuts the catalogue's documents into parts, a child each, for the index being built."""

from typing import Any, Final

from consumers.stages.context import StageJob
from consumers.stages.ports import ChildSummary, Ports
from schemas.errors import Conflict
from schemas.kinds.indexing.parts import RebuildInput
from schemas.outcomes import Child
from schemas.retrieval import IndexName

PART_DOCUMENTS: Final = 100
PART_BYTES: Final = 1_000_000
PAGE: Final = 5_000


async def parts(job: StageJob[Any, Any], ports: Ports, collection: str, generation: int) -> list[Child]:
    """The children that build what the index lacks. Together they cover all ids up to the last one."""
    children: list[Child] = []
    after = last = ""
    count = size = 0

    def part() -> Child:
        given = RebuildInput(collection=collection, generation=generation, after=after, last=last)
        return Child("indexing", given, key=f"rebuild-{len(children) + 1:05d}", stage="rebuild_prepare")

    while page := await ports.rebuilds.unbuilt(job.tenant, collection, generation, after=last, limit=PAGE):
        for document in page:
            if count and (count == PART_DOCUMENTS or size + document.bytes > PART_BYTES):
                children.append(part())
                after, count, size = last, 0, 0
            last = document.id
            count += 1
            size += document.bytes
    return [*children, part()] if count else children


def is_part(child: ChildSummary) -> bool:
    """Whether this child rebuilds; the others add documents."""
    return "generation" in child.input


def index_of(job: StageJob[RebuildInput, Any]) -> IndexName:
    """The index that a part of a rebuild writes into."""
    return IndexName(job.tenant, job.input.collection, job.input.generation)


def overtaken(part: RebuildInput) -> Conflict:
    """The index that is being built is not the one that this part was made for."""
    return Conflict(
        f"the rebuild of collection {part.collection!r} was overtaken: the collection was dropped, or is being rebuilt"
        " by another job",
        code="rebuild_lost",
    )
