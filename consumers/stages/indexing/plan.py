"""The first stage of `indexing`: removes what is to go, and cuts what is to be added into parts, one child each."""

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from tempfile import TemporaryFile

from consumers.stages.context import StageJob
from consumers.stages.indexing.rows import Row, read_rows
from consumers.stages.indexing.tally import MAX_ERRORS
from consumers.stages.ports import Ports
from schemas.errors import NotFound
from schemas.kinds.indexing import (
    Corpus,
    DocumentCounts,
    DocumentError,
    IndexingInput,
    IndexingResult,
    PartDocument,
    PartInput,
)
from schemas.outcomes import Child, Done, FanOut, Outcome

PART_DOCUMENTS = 100
PART_CHARS = 400_000
ROWS_AT_ONCE = 500


async def run(job: StageJob, ports: Ports) -> Outcome:
    """Drop, delete, and write the parts; then `prepare` for each part and `report` after the last of them."""
    request = IndexingInput.model_validate(job.input)
    if request.drop:
        await ports.index.drop(job.tenant, request.collection)
        await ports.catalogue.drop_collection(job.tenant, request.collection)
        return Done(IndexingResult(collection=request.collection).model_dump())
    if request.documents or request.corpus:
        embedder = ports.embedder
        await ports.catalogue.ensure_collection(
            job.tenant, request.collection, encoder=ports.sparse.name, embedder=embedder.name if embedder else None
        )
        dimension = embedder.dimension if embedder else None
        await ports.index.ensure(job.tenant, request.collection, dimension=dimension)
    else:
        # Deleting from a collection that is not there is a mistake to point out, not a success.
        await ports.catalogue.is_empty(job.tenant, request.collection)
    deleted = await _delete(job, ports, request)
    parts = _Parts(job, ports)
    async for row in _rows(job, ports, request):
        await parts.add(row)
    await parts.flush()
    if not parts.sizes:
        counts = DocumentCounts(deleted=deleted, failed=parts.failed)
        return Done(IndexingResult(collection=request.collection, documents=counts, errors=parts.errors).model_dump())
    children = [
        Child("prepare", PartInput(collection=request.collection, part=key, chunking=request.chunking).model_dump())
        for key in parts.keys
    ]
    carry = {
        "parts": parts.folder,
        "sizes": parts.sizes,
        "deleted": deleted,
        "failed": parts.failed,
        "errors": [error.model_dump() for error in parts.errors],
    }
    return FanOut(children, then="report", carry=carry)


async def _delete(job: StageJob, ports: Ports, request: IndexingInput) -> int:
    for document_id in request.delete:
        await ports.index.delete_document(job.tenant, request.collection, document_id)
    return len(await ports.catalogue.forget_documents(job.tenant, request.collection, request.delete))


async def _rows(job: StageJob, ports: Ports, request: IndexingInput) -> AsyncIterator[Row]:
    for document in request.documents:
        part = PartDocument(**document.model_dump(exclude={"file"}))
        if document.file is not None:
            try:
                part.blob, part.filename = await ports.catalogue.file_key(job.tenant, document.file)
            except NotFound:
                why = f"there is no file {document.file!r}; upload it with POST /v1/files and name the id that returns"
                yield DocumentError(id=document.id, code="file_not_found", message=why)
                continue
        yield part
    if request.corpus is not None:
        async for row in _corpus(job, ports, request.corpus):
            yield row


async def _corpus(job: StageJob, ports: Ports, corpus: Corpus) -> AsyncIterator[Row]:
    try:
        key, _ = await ports.catalogue.file_key(job.tenant, corpus.file)
    except NotFound as error:
        why = f"there is no file {corpus.file!r}; upload the corpus with POST /v1/files and name the id that returns"
        raise NotFound(why, code="file_not_found", field="input.corpus.file") from error
    # On disk, because readers of tables are synchronous and the file may be larger than memory.
    with TemporaryFile() as file:
        async for piece in ports.blobs.stream(key):
            await asyncio.to_thread(file.write, piece)
        total = file.tell()
        file.seek(0)
        rows = read_rows(file, corpus)
        while batch := await asyncio.to_thread(lambda: list(islice(rows, ROWS_AT_ONCE))):
            for row in batch:
                yield row
            await job.report(file.tell(), total, "reading the corpus, in bytes")


class _Parts:
    """Collects documents and writes them out as parts, each small enough for one child's memory."""

    def __init__(self, job: StageJob, ports: Ports) -> None:
        self.folder = f"{job.folder}/parts"
        self.keys: list[str] = []
        self.sizes: list[int] = []
        self.errors: list[DocumentError] = []
        self.failed = 0
        self._blobs = ports.blobs
        self._lines: list[str] = []
        self._chars = 0

    async def add(self, row: Row) -> None:
        if isinstance(row, DocumentError):
            self.failed += 1
            if len(self.errors) < MAX_ERRORS:
                self.errors.append(row)
            return
        size = len(row.text or "")
        if self._lines and self._chars + size > PART_CHARS:
            await self.flush()
        self._lines.append(row.model_dump_json())
        self._chars += size
        if len(self._lines) == PART_DOCUMENTS:
            await self.flush()

    async def flush(self) -> None:
        if not self._lines:
            return
        key = f"{self.folder}/{len(self.keys) + 1:05d}.jsonl"
        await self._blobs.put(key, "\n".join(self._lines).encode(), content_type="application/jsonl")
        self.keys.append(key)
        self.sizes.append(len(self._lines))
        self._lines, self._chars = [], 0
