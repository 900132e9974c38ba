"""Writes points into an index, which is created with its first points, and never after it was released."""

import asyncio
from typing import Any, Final
from weakref import WeakValueDictionary

from consumers.stages.comparing import compare
from consumers.stages.context import StageJob
from consumers.stages.indexing.lines import read_points
from consumers.stages.ports import Ports
from schemas.catalogue import Recorded
from schemas.errors import NotFound
from schemas.kinds.indexing.carries import Points
from schemas.retrieval import IndexName

UPSERT_AT_ONCE = 256

_MAKING: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()
"""By tenant. Each makes one index at a time: a connection to Postgres is held meanwhile, and a process has few."""


class LeftoverError(Exception):
    """The collection no longer names the index."""


class PointsLostError(Exception):
    """The blob of points is missing: an earlier try finished and cleaned up, or it was lost."""


async def write_points(job: StageJob[Any, Points], ports: Ports, index: IndexName) -> None:
    """Write all points of the carry. Raises `LeftoverError`, `PointsLostError`, `Conflict` for another model's."""
    done, total = 0, job.carry.result.chunks
    batches = read_points(ports.blobs, job.carry.points, UPSERT_AT_ONCE)
    while True:
        try:
            points = await anext(batches, None)
        except NotFound as error:
            raise PointsLostError from error
        if points is None:
            return
        if not done:
            await _hold(job, ports, index)
        try:
            await ports.index.upsert(index, points)
        except NotFound:
            # The first points make the index. Where the catalogue knows of others, these were lost with it.
            await compare(ports.doubts, ports.index, index)
            async with _MAKING.setdefault(index.tenant, asyncio.Lock()):
                await _hold(job, ports, index, make=True)
            try:
                await ports.index.upsert(index, points)
            except NotFound as error:
                raise LeftoverError from error
        done += len(points)
        await job.report(done, total, "writing chunks")


async def _hold(job: StageJob[Any, Points], ports: Ports, index: IndexName, *, make: bool = False) -> None:
    """Note the arms of the index, and make it. Held meanwhile: what drops a collection drops its indexes after it."""
    dimension, learned = job.carry.dimension, job.carry.learned
    async with ports.catalogue_writer.hold(
        index.tenant, index.collection, index.generation, dimension=dimension, learned=learned
    ) as named:
        if not named:
            raise LeftoverError
        if make:
            await ports.index.ensure(index, dimension=dimension, learned=learned)


async def prune(ports: Ports, index: IndexName, recorded: Recorded) -> None:
    """Remove the points of what held before the catalogue was written to, and see that the index is the catalogue's."""
    if recorded.change is None:
        return
    found = await ports.index.prune(index, recorded.now, recorded.change)
    if found is not None and not found.follows(recorded.change):
        # Other workers may have gone on from a later change; else one of the two was restored.
        await compare(ports.doubts, ports.index, index)


async def discard(job: StageJob[Any, Points], ports: Ports) -> None:
    """Remove the blobs that the part's stages handed to each other."""
    for key in job.carry.discard:
        await ports.blobs.delete(key)


async def drop_leftovers(tenant: str, collection: str, ports: Ports) -> None:
    """Drop the indexes that no collection names; an interrupted drop is found again."""
    for generation in await ports.catalogue_writer.leftovers(tenant, collection):
        await ports.index.drop(IndexName(tenant, collection, generation))
        await ports.catalogue_writer.let_go(tenant, collection, generation)
