"""The first stage of a part of a rebuild: makes points of documents that the catalogue knows, from their kept texts."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.indexing.points import PointMaker, Versioned
from consumers.stages.indexing.rebuilding import PART_DOCUMENTS, index_of, overtaken
from consumers.stages.ports import Ports, needs
from consumers.stages.sources import LONG_CHARS, Content, read_content
from schemas.catalogue import IndexRecord, Unbuilt, stamp
from schemas.errors import Conflict, DocumentRefused, NotFound
from schemas.kinds.indexing import IndexingResult
from schemas.kinds.indexing.carries import BuiltDocument, RebuildPoints
from schemas.kinds.indexing.parts import RebuildInput
from schemas.outcomes import Done, Next, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.catalogue, Ports.long_documents, Ports.rebuilds, Ports.sparse)


async def run(job: StageJob[RebuildInput, None], ports: Ports) -> Outcome:
    """Write the points of the part's documents to a blob; `Done` at once when they were all built meanwhile.

    Raises `Conflict` (`rebuild_lost`, `encoder_mismatch`, `source_missing`), and `DocumentRefused` for a document that
    takes too long or too much with the new settings.
    """
    part = job.input
    building = await _building(job, ports)
    unbuilt = await ports.rebuilds.unbuilt(
        # As many as were planned, and a few new ones; the next round finds the others.
        job.tenant,
        part.collection,
        part.generation,
        after=part.after,
        last=part.last,
        limit=2 * PART_DOCUMENTS,
    )
    maker = PointMaker(index_of(job), building.settings, ports.sparse, job.requester)
    key = f"{job.folder}/points.jsonl"
    contents = _contents(job, ports, [document for document in unbuilt if not document.deleted])
    async with aclosing(maker.lines(contents)) as lines:
        await ports.blobs.put_stream(key, lines, content_type="application/jsonl")
    for name, error in maker.refused.items():
        # The searched index holds it, and nobody asked for its removal.
        raise DocumentRefused(f"document {name!r} cannot be indexed so: {error.message}", code=error.reason)
    result = IndexingResult(collection=part.collection, chunks=sum(maker.chunks.values()))
    if not unbuilt:
        await ports.blobs.delete(key)
        return Done(result.model_dump())
    carry = RebuildPoints(
        embedder=building.embedder,
        points=key,
        discard=[key],
        # One whose text was gone before it could be read was written again: it stays unbuilt.
        documents=[
            BuiltDocument(id=one.id, version=one.version, chunks=maker.chunks.get(one.id, 0), deleted=one.deleted)
            for one in unbuilt
            if one.deleted or one.id in maker.chunks
        ],
        result=result,
    )
    return Next("embed" if building.embedder and result.chunks else "rebuild_upsert", carry)


async def _building(job: StageJob[RebuildInput, None], ports: Ports) -> IndexRecord:
    part = job.input
    try:
        record = await ports.catalogue.collection(job.tenant, part.collection)
    except NotFound as error:
        raise overtaken(part) from error
    if record.building is None or record.building.generation != part.generation:
        raise overtaken(part)
    if record.building.encoder != ports.sparse.name:
        raise Conflict(
            f"collection {part.collection!r} is being rebuilt with {record.building.encoder}, this worker has"
            f" {ports.sparse.name}: run one version of WeLIP, and rebuild again",
            code="encoder_mismatch",
        )
    return record.building


async def _contents(
    job: StageJob[RebuildInput, None], ports: Ports, documents: Sequence[Unbuilt]
) -> AsyncGenerator[Versioned]:
    for position, document in enumerate(documents, start=1):
        async with AsyncExitStack() as held:
            if document.bytes > LONG_CHARS:
                await held.enter_async_context(ports.long_documents.turn(job.requester))
            content = await _kept(job, ports, document)
            if content is not None:
                mark = stamp(document.content_hash, document.version)
                yield Versioned(document.id, document.version, mark, content)
        await job.report(position, len(documents), "preparing documents")


async def _kept(job: StageJob[RebuildInput, None], ports: Ports, document: Unbuilt) -> Content | None:
    """The text of a document; None when it was written again, or deleted, since it was looked up."""
    assert document.source is not None
    try:
        return await read_content(ports.blobs, document.source)
    except NotFound as error:
        known = await ports.catalogue.documents(job.tenant, job.input.collection, [document.id])
        if document.id not in known or known[document.id].source != document.source:
            return None
        raise Conflict(
            f"the text of document {document.id!r} is missing in object storage: index it again, or delete it",
            code="source_missing",
        ) from error
