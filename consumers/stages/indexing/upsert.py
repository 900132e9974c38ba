"""The last stage of a part: its points enter the vector index, its documents the catalogue, and old versions leave."""

from datetime import timedelta
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.indexing.tally import refuse_dropped
from consumers.stages.indexing.writing import LeftoverError, PointsLostError, discard, prune, write_points
from consumers.stages.ports import Ports, StoredDocument, needs
from schemas.catalogue import Standing
from schemas.errors import InternalError
from schemas.kinds.indexing.carries import PartPoints
from schemas.kinds.indexing.parts import PartInput
from schemas.outcomes import Done, Next, Outcome, Snooze
from schemas.retrieval import IndexName

NEEDS: Final = needs(Ports.blobs, Ports.catalogue_writer, Ports.doubts, Ports.index)
SEALED_PAUSE: Final = timedelta(seconds=1)


async def run(job: StageJob[PartInput, PartPoints], ports: Ports) -> Outcome:
    """Write points, let the documents hold, drop the points of what held before. Safe to repeat after any step.

    Between the first and the second step the points are in the index and invisible: searches show what the catalogue
    says. What an interrupted try has left is written again by the next one, or pruned by the winner.
    """
    part, carry = job.input, job.carry
    result = carry.result.model_copy(deep=True)
    documents = [
        StoredDocument(
            one.id, part.version, one.content_hash, one.chunks, one.bytes, (carry.source, one.offset, one.length)
        )
        for one in carry.documents
    ]
    where = (job.tenant, part.collection, carry.generation)
    standing = await ports.catalogue_writer.standing(*where, part.version)
    if standing is not Standing.NAMED:
        return await _elsewhere(job, ports, part, standing)
    index = IndexName(*where)
    try:
        await write_points(job, ports, index)
    except LeftoverError:
        return await _elsewhere(job, ports, part, await ports.catalogue_writer.standing(*where, part.version))
    except PointsLostError:
        # If an earlier try had finished, its outcome is repeated.
        if not await ports.catalogue_writer.settled(
            job.tenant, part.collection, part.version, [one.id for one in documents]
        ):
            return Next("prepare")
    recorded = await ports.catalogue_writer.record(*where, part.version, documents)
    if recorded.standing is not Standing.NAMED:
        return await _elsewhere(job, ports, part, recorded.standing)
    await prune(ports, index, recorded)
    for document in documents:
        if document.id not in recorded.changed:
            result.chunks -= document.chunks
        if document.id in recorded.added:
            result.documents.added += 1
        elif document.id in recorded.changed:
            result.documents.replaced += 1
        else:
            result.documents.superseded += 1
    await discard(job, ports)
    return Done(result.model_dump())


async def _elsewhere(
    job: StageJob[PartInput, PartPoints], ports: Ports, part: PartInput, standing: Standing
) -> Outcome:
    """The outcome of a part whose index is not, or not now, the one to write into."""
    match standing:
        case Standing.SEALED:
            return Snooze(SEALED_PAUSE)
        case Standing.MOVED | Standing.SOURCE_LOST:
            await discard(job, ports)
            return Next("prepare")
        case Standing.GONE:
            await discard(job, ports)
            result = job.carry.result.model_copy(deep=True)
            result.chunks = 0
            refuse_dropped(result, [document.id for document in job.carry.documents])
            return Done(result.model_dump())
        case Standing.NAMED:
            raise InternalError(f"the index of collection {part.collection!r} is missing though the catalogue names it")
