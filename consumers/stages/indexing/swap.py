"""The stage that ends a rebuild: builds what was written meanwhile, then switches searches to the new index."""

from datetime import timedelta
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.indexing import rebuilding
from consumers.stages.indexing.writing import drop_leftovers
from consumers.stages.ports import Ports, needs
from schemas.errors import Conflict, NotFound
from schemas.kinds.indexing import IndexingInput
from schemas.kinds.indexing.carries import Planned
from schemas.lifecycle import JobState
from schemas.outcomes import Fail, FanOut, Next, Outcome, Snooze

NEEDS: Final = needs(Ports.catalogue, Ports.catalogue_writer, Ports.children, Ports.index, Ports.rebuilds)
SEAL_S: Final = 30.0
LONGEST_SEAL_S: Final = 600.0


async def run(job: StageJob[IndexingInput, Planned], ports: Ports) -> Outcome:
    """Another round of children while the new index lacks a document, else the swap; then `report`.

    The first round catches up with what was written during the build. During the later rounds writers wait, for a time
    that grows, so that the rounds end however much is written.
    """
    name, generation = job.input.collection, job.carry.rebuild
    assert generation is not None
    try:
        record = await ports.catalogue.collection(job.tenant, name)
    except NotFound as error:
        raise Conflict(
            f"collection {name!r} was dropped while it was being rebuilt", code="collection_dropped"
        ) from error
    if record.generation != generation:
        if (failed := await _failed(job, ports)) is not None:
            await ports.rebuilds.abandon(job.tenant, name, job.id)
            await drop_leftovers(job.tenant, name, ports)
            return Fail(failed)
        if record.building is None or record.building.generation != generation:
            raise Conflict(f"the rebuild of {name!r} was overtaken by another job", code="rebuild_lost")
        turn = job.carry.round + 1
        if turn > 1:
            await ports.rebuilds.seal(job.tenant, name, generation, min(SEAL_S * 2.0 ** (turn - 2), LONGEST_SEAL_S))
        if children := await rebuilding.parts(job, ports, name, generation):
            return FanOut(children, then="swap", carry=job.carry.model_copy(update={"round": turn}))
        if not await ports.rebuilds.swap(job.tenant, name, generation):
            return Snooze(timedelta(0))  # something was written between the look and the swap
    await drop_leftovers(job.tenant, name, ports)
    return Next("report", job.carry)


async def _failed(job: StageJob[IndexingInput, Planned], ports: Ports) -> Conflict | None:
    """Why the rebuild cannot go on: a part of it, in the round that has just ended, did not succeed."""
    async for child in ports.children.results(job.id):
        if child.state is JobState.SUCCEEDED or not rebuilding.is_part(child):
            continue
        error = child.error or {"code": "rebuild_cancelled", "message": f"its part {child.key} was cancelled"}
        why = f"the rebuild stopped, and the collection is unchanged: {error['message']}"
        return Conflict(why, code=error["code"])
    return None
