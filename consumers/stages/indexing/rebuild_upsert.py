"""The last stage of a part of a rebuild: its points enter the index that is being built."""

from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.indexing.rebuilding import index_of, overtaken
from consumers.stages.indexing.writing import LeftoverError, PointsLostError, discard, prune, write_points
from consumers.stages.ports import Ports, needs
from schemas.catalogue import Standing
from schemas.kinds.indexing.carries import RebuildPoints
from schemas.kinds.indexing.parts import RebuildInput
from schemas.outcomes import Done, Next, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.catalogue_writer, Ports.doubts, Ports.index, Ports.rebuilds)


async def run(job: StageJob[RebuildInput, RebuildPoints], ports: Ports) -> Outcome:
    """Write the points, and record this for documents that are unchanged since they were read.

    Raises `Conflict` (`rebuild_lost`).
    """
    part, carry, index = job.input, job.carry, index_of(job)
    try:
        await write_points(job, ports, index)
    except LeftoverError as error:
        raise overtaken(part) from error
    except PointsLostError:
        return Next("rebuild_prepare")
    documents = [(one.id, one.version, one.chunks) for one in carry.documents]
    built = await ports.rebuilds.built(job.tenant, part.collection, part.generation, documents)
    if built.standing is not Standing.NAMED:
        raise overtaken(part)
    await prune(ports, index, built)
    rebuilt = sum(one.id in built.changed and not one.deleted for one in carry.documents)
    await discard(job, ports)
    return Done(carry.result.model_copy(update={"rebuilt": rebuilt}).model_dump())
