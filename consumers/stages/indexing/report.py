"""The last stage of `indexing`: adds up the results of all parts."""

from pathlib import PurePosixPath
from typing import Any, Final

import orjson

from consumers.stages.context import StageJob
from consumers.stages.indexing.lines import part_document
from consumers.stages.indexing.rebuilding import is_part
from consumers.stages.indexing.tally import add, refuse
from consumers.stages.lines import read_lines
from consumers.stages.ports import ChildSummary, Ports, needs
from schemas.errors import NotFound
from schemas.kinds.indexing import DocumentCounts, DocumentError, IndexingInput, IndexingResult
from schemas.kinds.indexing.carries import Planned
from schemas.kinds.indexing.parts import PartInput
from schemas.outcomes import Done, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.children, Ports.files)


async def run(job: StageJob[IndexingInput, Planned], ports: Ports) -> Outcome:
    """Sum the children's results; all documents of a part that failed count as failed, with the part's error."""
    carry = job.carry
    total = IndexingResult(
        collection=job.input.collection,
        documents=DocumentCounts(deleted=carry.deleted, failed=carry.failed),
        errors=list(carry.errors),
    )
    done = 0
    for number in range(1, max(job.rounds, 1) + 1):
        async for child in ports.children.results(job.id, number):
            if child.result is not None:
                add(total, await _result(ports, child.result))
            elif not is_part(child):  # a rebuild does not come here unless all of its parts succeeded
                await _fail_part(ports, child, carry.sizes, total)
            done += 1
            await job.report(done, max(done, len(carry.sizes)), "adding up the parts")
    await ports.blobs.delete(carry.parts)
    return Done(total.model_dump())


async def _result(ports: Ports, told: dict[str, Any]) -> IndexingResult:
    """A part's result; one that lists many refused documents is a file."""
    if set(told) == {"file"}:
        file = await ports.files.find(told["file"])
        told = orjson.loads(await ports.blobs.get(file.blob))
    return IndexingResult.model_validate(told)


async def _fail_part(ports: Ports, child: ChildSummary, sizes: list[int], total: IndexingResult) -> None:
    part = PartInput.model_validate(child.input)
    error = child.error or {"code": "cancelled", "message": "the part was cancelled"}
    left = sizes[int(PurePosixPath(part.part).stem) - 1]
    try:
        async for line in read_lines(ports.blobs, part.part):
            document = part_document(line, part)
            refuse(total, DocumentError(id=document.id, code=error["code"], message=error["message"]))
            left -= 1
    except NotFound:
        # An earlier try of this stage had removed the parts already: their documents can still be counted.
        total.documents.failed += left
