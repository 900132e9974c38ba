"""The last stage of a part: its points enter the vector index, its documents the catalogue, and old versions leave."""

from consumers.stages.context import StageJob
from consumers.stages.indexing.lines import read_points
from consumers.stages.ports import Ports, StoredDocument
from schemas.errors import NotFound
from schemas.kinds.indexing import IndexingResult
from schemas.outcomes import Done, Outcome

UPSERT_AT_ONCE = 256


async def run(job: StageJob, ports: Ports) -> Outcome:
    """Write points, drop those of replaced versions, record the documents. Safe to repeat after any step.

    The catalogue comes last: what it does not know is indexed again, so a try that breaks off leaves nothing stale.
    """
    result = IndexingResult.model_validate(job.carry["result"])
    documents = [StoredDocument(*fields) for fields in job.carry["documents"]]
    try:
        await _write(job, ports, result)
    except NotFound:
        # An earlier try may have come to its end and tidied up, without its outcome being recorded.
        if not await _is_recorded(job, ports, result.collection, documents):
            raise
        return Done(result.model_dump())
    hashes = {document.id: document.content_hash for document in documents}
    for document_id in job.carry["replaced"]:
        await ports.index.delete_document(job.tenant, result.collection, document_id, keep=hashes[document_id])
    await ports.catalogue.record_documents(job.tenant, result.collection, documents)
    for key in job.carry["discard"]:
        await ports.blobs.delete(key)
    return Done(result.model_dump())


async def _write(job: StageJob, ports: Ports, result: IndexingResult) -> None:
    done = 0
    async for points in read_points(ports.blobs, job.carry["points"], UPSERT_AT_ONCE):
        await ports.index.upsert(job.tenant, result.collection, points)
        done += len(points)
        await job.report(done, result.chunks, "writing chunks")


async def _is_recorded(job: StageJob, ports: Ports, collection: str, documents: list[StoredDocument]) -> bool:
    known = await ports.catalogue.documents(job.tenant, collection, [document.id for document in documents])
    return all(known.get(document.id) == document for document in documents)
