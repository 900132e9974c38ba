"""The second stage of a part, where the collection has a dense model: adds the model's vectors to every point."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

from consumers.stages.context import StageJob
from consumers.stages.indexing.lines import point_line, read_points
from consumers.stages.models import embedder_for, under_headings
from consumers.stages.ports import Embedder, Ports, needs
from schemas.kinds.indexing.carries import PartPoints, Points, RebuildPoints
from schemas.kinds.indexing.parts import PartInput, RebuildInput
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.embedder)
EMBED_AT_ONCE = 64
"""Points of one job; the embedder makes its batches across jobs."""


async def run(job: StageJob[PartInput | RebuildInput, PartPoints | RebuildPoints], ports: Ports) -> Outcome:
    """Rewrite the points with the model's vectors; the next stage is told the model's dimension and `learned`.

    Raises `DependencyMissing` (`embedder_missing`) and `Conflict` (`encoder_mismatch`) when this pool is configured
    otherwise than the one that planned the job.
    """
    carry = job.carry
    embedder = embedder_for(ports, carry.embedder or "")
    key = f"{job.folder}/embedded.jsonl"
    await ports.blobs.put_stream(key, _embedded(job, ports, embedder), content_type="application/jsonl")
    # The blob read from is kept until the points are written: a repeat of this stage needs it.
    made = {
        "points": key,
        "discard": [*carry.discard, key],
        "dimension": embedder.dimension,
        "learned": embedder.learned,
    }
    return Next("upsert" if isinstance(carry, PartPoints) else "rebuild_upsert", carry.model_copy(update=made))


async def _embedded(job: StageJob[Any, Points], ports: Ports, embedder: Embedder) -> AsyncIterator[bytes]:
    done, total = 0, job.carry.result.chunks
    async for points in read_points(ports.blobs, job.carry.points, EMBED_AT_ONCE):
        made = await embedder.embed_documents(
            [under_headings(point.title, point.heading, point.text) for point in points]
        )
        yield b"".join(
            point_line(replace(point, dense=one.dense, learned=one.learned))
            for point, one in zip(points, made, strict=True)
        )
        done += len(points)
        await job.report(done, total, "embedding chunks")
