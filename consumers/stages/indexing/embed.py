"""The second stage of a part, where the collection has a dense model: adds the model's vectors to every point."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.indexing.lines import point_line, read_points
from consumers.stages.models import embedder_for, under_headings
from consumers.stages.ports import Embedder, Ports, needs
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.embedder)
EMBED_AT_ONCE = 64
"""Points of one job; the embedder makes its batches across jobs."""


async def run(job: StageJob, ports: Ports) -> Outcome:
    """Rewrite the points with the model's vectors, for `upsert`, which is told the model's dimension and `learned`.

    Raises `DependencyMissing` (`embedder_missing`) and `Conflict` (`encoder_mismatch`) when this pool is configured
    otherwise than the one that planned the job (`carry["embedder"]`).
    """
    embedder = embedder_for(ports, job.carry["embedder"])
    key = f"{job.folder}/embedded.jsonl"
    await ports.blobs.put_stream(key, _embedded(job, ports, embedder), content_type="application/jsonl")
    carry = {**job.carry, "points": key, "dimension": embedder.dimension, "learned": embedder.learned}
    # The blob read from is kept until `upsert`: a repeat of this stage needs it.
    return Next("upsert", {**carry, "discard": [*job.carry["discard"], key]})


async def _embedded(job: StageJob, ports: Ports, embedder: Embedder) -> AsyncIterator[bytes]:
    done, total = 0, job.carry["result"]["chunks"]
    async for points in read_points(ports.blobs, job.carry["points"], EMBED_AT_ONCE):
        made = await embedder.embed_documents(
            [under_headings(point.title, point.heading, point.text) for point in points]
        )
        yield b"".join(
            point_line(replace(point, dense=one.dense, learned=one.learned))
            for point, one in zip(points, made, strict=True)
        )
        done += len(points)
        await job.report(done, total, "embedding chunks")
