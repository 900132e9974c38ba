"""The second stage of a part, where the deployment has a dense model: adds a dense vector to every point."""

import asyncio
from collections.abc import AsyncIterator

from consumers.stages.context import StageJob
from consumers.stages.indexing.lines import encoded_text, point_line, read_points
from consumers.stages.ports import Embedder, Ports
from schemas.errors import DependencyMissing
from schemas.outcomes import Next, Outcome
from schemas.retrieval import Point

EMBED_AT_ONCE = 64


async def run(job: StageJob, ports: Ports) -> Outcome:
    """Rewrite the points with dense vectors, for `upsert`. Raises `DependencyMissing` where no embedder is set."""
    embedder = ports.embedder
    if embedder is None:
        raise DependencyMissing("this worker has no embedder, but the collection needs one; configure it and try again")
    key = f"{job.folder}/embedded.jsonl"
    await ports.blobs.put_stream(key, _embedded(job, ports, embedder), content_type="application/jsonl")
    # The blob read from is kept until `upsert`: a repeat of this stage needs it.
    return Next("upsert", {**job.carry, "points": key, "discard": [*job.carry["discard"], key]})


async def _embedded(job: StageJob, ports: Ports, embedder: Embedder) -> AsyncIterator[bytes]:
    done, total = 0, job.carry["result"]["chunks"]
    async for points in read_points(ports.blobs, job.carry["points"], EMBED_AT_ONCE):
        yield await asyncio.to_thread(_lines, embedder, points)
        done += len(points)
        await job.report(done, total, "embedding chunks")


def _lines(embedder: Embedder, points: list[Point]) -> bytes:
    vectors = embedder.embed_documents([encoded_text(point.title, point.text) for point in points])
    return b"".join(point_line(point, dense) for point, dense in zip(points, vectors, strict=True))
