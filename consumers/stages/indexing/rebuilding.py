"""A part of a rebuild: documents that the catalogue knows, from the texts it kept, for the index being built."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.indexing.points import PointMaker, Versioned
from consumers.stages.indexing.sources import read_content
from consumers.stages.indexing.writing import LeftoverError, PointsLostError, discard, write_points
from consumers.stages.ports import Ports
from schemas.catalogue import IndexRecord, Standing, Unbuilt, stamp
from schemas.errors import Conflict, NotFound
from schemas.kinds.indexing import IndexingResult, RebuildInput
from schemas.outcomes import Child, Done, Next, Outcome
from schemas.retrieval import IndexName

PART_DOCUMENTS: Final = 100
PART_BYTES: Final = 1_000_000
PAGE: Final = 5_000


async def parts(job: StageJob, ports: Ports, collection: str, generation: int) -> list[Child]:
    """The children that build what the index lacks. Together they cover all ids up to the last one."""
    children: list[Child] = []
    after = last = ""
    count = size = 0

    def part() -> Child:
        given = RebuildInput(collection=collection, generation=generation, after=after, last=last)
        return Child("prepare", given.model_dump())

    while page := await ports.catalogue.unbuilt(job.tenant, collection, generation, after=last, limit=PAGE):
        for document in page:
            if count and (count == PART_DOCUMENTS or size + document.bytes > PART_BYTES):
                children.append(part())
                after, count, size = last, 0, 0
            last = document.id
            count += 1
            size += document.bytes
    return [*children, part()] if count else children


async def prepare(job: StageJob, ports: Ports, part: RebuildInput) -> Outcome:
    """Write the points of the part's documents to a blob."""
    building = await _building(job, ports, part)
    unbuilt = await ports.catalogue.unbuilt(
        # As many as there were, and a few that came since; the next round finds the others.
        job.tenant,
        part.collection,
        part.generation,
        after=part.after,
        last=part.last,
        limit=2 * PART_DOCUMENTS,
    )
    maker = PointMaker(_index(job, part), building.settings, ports.sparse, job.lane)
    key = f"{job.folder}/points.jsonl"
    contents = _contents(job, ports, part, [document for document in unbuilt if not document.deleted])
    await ports.blobs.put_stream(key, maker.lines(contents), content_type="application/jsonl")
    result = IndexingResult(collection=part.collection, chunks=sum(maker.chunks.values()))
    if not unbuilt:
        await ports.blobs.delete(key)
        return Done(result.model_dump())
    carry = {
        "embedder": building.embedder,
        "points": key,
        "discard": [key],
        # One whose text was gone before it could be read was written again: it stays unbuilt.
        "documents": [
            [one.id, one.version, maker.chunks.get(one.id, 0), one.deleted]
            for one in unbuilt
            if one.deleted or one.id in maker.chunks
        ],
        "result": result.model_dump(),
    }
    return Next("embed" if building.embedder and result.chunks else "upsert", carry)


async def upsert(job: StageJob, ports: Ports, part: RebuildInput) -> Outcome:
    """Write the points, and say so of those documents that are still as they were read."""
    result = IndexingResult.model_validate(job.carry["result"])
    try:
        await write_points(job, ports, _index(job, part))
    except LeftoverError as error:
        raise _lost(part) from error
    except PointsLostError:
        return Next("prepare")
    documents = [(name, version, chunks) for name, version, chunks, _ in job.carry["documents"]]
    built = await ports.catalogue.built(job.tenant, part.collection, part.generation, documents)
    if built.standing is not Standing.NAMED:
        raise _lost(part)
    await ports.index.prune(_index(job, part), built.now)
    result.rebuilt = sum(name in built.changed and not deleted for name, *_, deleted in job.carry["documents"])
    await discard(job, ports)
    return Done(result.model_dump())


async def _building(job: StageJob, ports: Ports, part: RebuildInput) -> IndexRecord:
    try:
        record = await ports.catalogue.collection(job.tenant, part.collection)
    except NotFound as error:
        raise _lost(part) from error
    if record.building is None or record.building.generation != part.generation:
        raise _lost(part)
    if record.building.encoder != ports.sparse.name:
        raise Conflict(
            f"collection {part.collection!r} is being rebuilt with {record.building.encoder}, this worker has"
            f" {ports.sparse.name}: run one version of WeLIP, and rebuild again",
            code="encoder_mismatch",
        )
    return record.building


async def _contents(
    job: StageJob, ports: Ports, part: RebuildInput, documents: Sequence[Unbuilt]
) -> AsyncIterator[Versioned]:
    for position, document in enumerate(documents, start=1):
        assert document.source is not None
        try:
            content = await read_content(ports.blobs, document.source)
        except NotFound as error:
            known = await ports.catalogue.documents(job.tenant, part.collection, [document.id])
            if document.id not in known or known[document.id].source != document.source:
                continue  # written again, or deleted, since it was looked up
            raise Conflict(
                f"the text of document {document.id!r} is missing in object storage: index it again, or delete it",
                code="source_missing",
            ) from error
        yield Versioned(document.id, document.version, stamp(document.content_hash, document.version), content)
        await job.report(position, len(documents), "preparing documents")


def _index(job: StageJob, part: RebuildInput) -> IndexName:
    return IndexName(job.tenant, part.collection, part.generation)


def _lost(part: RebuildInput) -> Conflict:
    return Conflict(
        f"the rebuild of collection {part.collection!r} was overtaken: the collection was dropped, or is being rebuilt"
        " by another job",
        code="rebuild_lost",
    )
