"""The second stage of a part, where the collection has a dense model: adds the model's vectors to every point."""

from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.indexing.lines import point_line, read_points
from consumers.stages.indexing.tally import refuse
from consumers.stages.models import embedder_for, under_headings
from consumers.stages.ports import Embedder, Ports, needs
from schemas.errors import JobError
from schemas.kinds.indexing import DocumentError
from schemas.kinds.indexing.carries import PartPoints, RebuildPoints
from schemas.kinds.indexing.parts import PartInput, RebuildInput
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.embedder)

EMBED_AT_ONCE: Final = 64
"""Points of one job; the embedder makes its batches across jobs."""

_Job = StageJob[PartInput | RebuildInput, PartPoints | RebuildPoints]


async def run(job: _Job, ports: Ports) -> Outcome:
    """Rewrite the points with the model's vectors; the next stage is told the model's dimension and `learned`.

    A document of which the model cannot take a chunk is refused by itself; in a rebuild it fails the part, and so the
    rebuild, because the collection would lose it.

    Raises `DependencyMissing` (`embedder_missing`) and `Conflict` (`encoder_mismatch`) when this pool is configured
    otherwise than the one that planned the job.
    """
    carry = job.carry
    embedder = embedder_for(ports, carry.embedder or "")
    key = f"{job.folder}/embedded.jsonl"
    refused: dict[str, JobError] = {}
    await ports.blobs.put_stream(key, _embedded(job, ports, embedder, refused), content_type="application/jsonl")
    # The blob read from is kept until the points are written: a repeat of this stage needs it.
    discard = [*carry.discard, key]
    if refused and isinstance(carry, RebuildPoints):
        document, error = next(iter(refused.items()))
        raise JobError(f"document {document!r} cannot be embedded: {error.message}", code=error.reason)
    if refused and isinstance(carry, PartPoints):
        carry = _without(carry, refused)
        embedded, key = key, f"{job.folder}/taken.jsonl"
        await ports.blobs.put_stream(key, _taken(ports, embedded, refused), content_type="application/jsonl")
        discard.append(key)
    made = {"points": key, "discard": discard, "dimension": embedder.dimension, "learned": embedder.learned}
    return Next("upsert" if isinstance(carry, PartPoints) else "rebuild_upsert", carry.model_copy(update=made))


async def _embedded(job: _Job, ports: Ports, embedder: Embedder, refused: dict[str, JobError]) -> AsyncIterator[bytes]:
    """The points that the model took; `refused` gets the first error of each document."""
    done, total = 0, job.carry.result.chunks
    async for points in read_points(ports.blobs, job.carry.points, EMBED_AT_ONCE):
        made = await embedder.embed_documents(
            [under_headings(point.title, point.heading, point.text) for point in points]
        )
        lines: list[bytes] = []
        for point, one in zip(points, made, strict=True):
            if isinstance(one, JobError):
                refused.setdefault(point.document_id, one)
            else:
                lines.append(point_line(replace(point, dense=one.dense, learned=one.learned)))
        yield b"".join(lines)
        done += len(points)
        await job.report(done, total, "embedding chunks")


def _without(carry: PartPoints, refused: dict[str, JobError]) -> PartPoints:
    """The part without the refused documents, but with their errors."""
    result = carry.result.model_copy(deep=True)
    for document in carry.documents:
        if (error := refused.get(document.id)) is not None:
            result.chunks -= document.chunks
            refuse(result, DocumentError(id=document.id, code=error.reason, message=error.message))
    kept = [document for document in carry.documents if document.id not in refused]
    return carry.model_copy(update={"documents": kept, "result": result})


async def _taken(ports: Ports, key: str, refused: Collection[str]) -> AsyncIterator[bytes]:
    """The points of documents that were accepted completely."""
    async for points in read_points(ports.blobs, key, EMBED_AT_ONCE):
        yield b"".join(point_line(point) for point in points if point.document_id not in refused)
