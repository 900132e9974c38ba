"""The first stage of a part: parses, skips unchanged documents, cuts the rest into chunks and makes sparse vectors."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from tempfile import TemporaryFile
from typing import IO, Final

from consumers.stages.aside import aside
from consumers.stages.context import StageJob
from consumers.stages.indexing.lines import part_document
from consumers.stages.indexing.points import PointMaker, Versioned
from consumers.stages.indexing.reading import changed_documents
from consumers.stages.indexing.tally import refuse, refuse_dropped
from consumers.stages.lines import read_lines
from consumers.stages.ports import Ports, needs
from consumers.stages.sources import file_pieces, pack
from schemas.catalogue import CollectionRecord, stamp
from schemas.errors import Conflict, NotFound
from schemas.kinds.indexing import DocumentError, IndexingResult
from schemas.kinds.indexing.carries import PartPoints, PreparedDocument
from schemas.kinds.indexing.parts import PartInput
from schemas.outcomes import Done, Next, Outcome
from schemas.retrieval import IndexName

NEEDS: Final = needs(
    Ports.blobs, Ports.catalogue, Ports.catalogue_writer, Ports.long_documents, Ports.parser, Ports.sparse
)
INLINE_BYTES: Final = 50_000
"""Anything larger is packed in a thread."""


async def run(job: StageJob[PartInput, None], ports: Ports) -> Outcome:
    """Write the part's new points to a blob and its new texts to another; `Done` at once when nothing changed."""
    part = job.input
    try:
        record = await ports.catalogue.collection(job.tenant, part.collection)
    except NotFound:
        return await _dropped(ports, part)
    if record.born > part.version:
        return await _dropped(ports, part)
    check_encoders(record, ports)
    preparation = _Preparation(job, ports, part, record)
    points = f"{job.folder}/points.jsonl"
    with TemporaryFile() as texts:
        # No analysis for a cancelled job continues.
        async with aclosing(preparation.lines(texts)) as lines:
            await ports.blobs.put_stream(points, lines, content_type="application/jsonl")
        preparation.leave_out_refused()
        if not preparation.stored:
            await ports.blobs.delete(points)
            return Done(preparation.result.model_dump())
        await ports.catalogue_writer.add_fields(job.tenant, part.collection, preparation.fields)
        await ports.catalogue_writer.expect_source(preparation.source, job.id)
        await ports.blobs.put_stream(preparation.source, file_pieces(texts))
    chunks = preparation.maker.chunks
    preparation.result.chunks = sum(chunks.values())
    carry = PartPoints(
        generation=record.generation,
        embedder=record.embedder,
        points=points,
        discard=[points],
        source=preparation.source,
        documents=[one.model_copy(update={"chunks": chunks[one.id]}) for one in preparation.stored],
        result=preparation.result,
    )
    return Next("embed" if record.embedder else "upsert", carry)


def check_encoders(record: CollectionRecord, ports: Ports) -> None:
    """Raise `Conflict` (`encoder_mismatch`) unless this deployment encodes as the collection was encoded."""
    made, here = (record.encoder, record.embedder), (ports.sparse.name, ports.deployment.embedder)
    if made != here:
        raise Conflict(
            f"collection {record.name!r} was made with {made[0]} and {made[1] or 'no embedder'}, this deployment has"
            f" {here[0]} and {here[1] or 'no embedder'}: configure the same ones, or rebuild the collection first"
            ' (`"rebuild": true`)',
            code="encoder_mismatch",
            field="input.collection",
        )


class _Preparation:
    """One pass over a part; `lines` goes to the blob, the rest are the findings of the pass."""

    def __init__(self, job: StageJob[PartInput, None], ports: Ports, part: PartInput, record: CollectionRecord) -> None:
        self.result = IndexingResult(collection=part.collection)
        self.stored: list[PreparedDocument] = []
        self.fields: set[str] = set()
        # `born`: a collection that is dropped goes with its folder, and one of the same name has another.
        self.source = f"{job.tenant}/collections/{part.collection}/{record.born}/{job.id.hex}-{job.epoch}"
        index = IndexName(job.tenant, part.collection, record.generation)
        self.maker = PointMaker(index, record.settings, ports.sparse, job.requester)
        self._job = job
        self._ports = ports
        self._part = part
        self._anew = record.doubt is not None  # the index may lack what the catalogue says it has

    def lines(self, texts: IO[bytes]) -> AsyncGenerator[bytes]:
        """The points of new and changed documents, a few hundred chunks at a time; their texts go to `texts`."""
        return self.maker.lines(self._changed(texts))

    def leave_out_refused(self) -> None:
        """Count documents that were read, but could not be analysed."""
        for name, error in self.maker.refused.items():
            refuse(self.result, DocumentError(id=name, code=error.reason, message=error.message))
        self.stored = [one for one in self.stored if one.id not in self.maker.refused]

    async def _changed(self, texts: IO[bytes]) -> AsyncGenerator[Versioned]:
        offset = 0
        found = changed_documents(self._job, self._ports, self._part, self.result, anew=self._anew)
        async with aclosing(found) as documents:
            async for read in documents:
                small = len(read.serialised) < INLINE_BYTES
                size = texts.write(pack(read.serialised) if small else await aside(pack, read.serialised))
                text_bytes = len(read.content.parsed.text.encode())
                self.stored.append(
                    PreparedDocument(
                        id=read.id,
                        content_hash=read.content_hash,
                        bytes=text_bytes,
                        offset=offset,
                        length=size,
                    )
                )
                offset += size
                self.fields.update(name for name in read.content.metadata if "\0" not in name)
                version = self._part.version
                yield Versioned(read.id, version, stamp(read.content_hash, version), read.content)


async def _dropped(ports: Ports, part: PartInput) -> Done:
    result = IndexingResult(collection=part.collection)
    documents = [part_document(line, part).id async for line in read_lines(ports.blobs, part.part)]
    refuse_dropped(result, documents)
    return Done(result.model_dump())
