"""The first stage of a part: parses, skips what has not changed, cuts into chunks and encodes them sparsely."""

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from uuid import UUID, uuid5

from consumers.stages.context import StageJob
from consumers.stages.indexing.chunking import chunk
from consumers.stages.indexing.lines import encoded_text, point_line, read_lines
from consumers.stages.indexing.tally import refuse
from consumers.stages.ports import Ports, StoredDocument
from schemas.errors import DocumentRefused
from schemas.kinds.indexing import (
    MAX_DOCUMENT_CHARS,
    Chunking,
    DocumentError,
    IndexingResult,
    PartDocument,
    PartInput,
)
from schemas.outcomes import Done, Next, Outcome
from schemas.retrieval import ChunkSpan, ParsedDocument, Point

MAX_FILE_BYTES = 40_000_000
"""A file of a document is refused above this size before it is read whole: 10 million characters of 4 bytes."""

ENCODE_AT_ONCE = 256
SPLIT_AT_ONCE = 200_000
"""Characters; one call that cannot be interrupted stays within a few seconds."""

_POINTS = UUID("6f0a3c1e-58c4-5d6b-9f0e-3f2b7a1d9c44")


async def run(job: StageJob, ports: Ports) -> Outcome:
    """Write the part's new points to a blob; `Done` at once when nothing changed."""
    part = PartInput.model_validate(job.input)
    preparation = _Preparation(job, ports, part)
    key = f"{job.folder}/points.jsonl"
    await ports.blobs.put_stream(key, preparation.lines(), content_type="application/jsonl")
    result = preparation.result
    if not preparation.stored:
        await ports.blobs.delete(key)
        return Done(result.model_dump())
    carry = {
        "points": key,
        "discard": [key],
        "documents": [[d.id, d.content_hash, d.chunks, d.bytes] for d in preparation.stored],
        "replaced": preparation.replaced,
        "result": result.model_dump(),
    }
    return Next("embed" if ports.embedder else "upsert", carry)


class _Preparation:
    """One pass over a part; `lines` is what goes to the blob, the rest is what the pass found out."""

    def __init__(self, job: StageJob, ports: Ports, part: PartInput) -> None:
        self.result = IndexingResult(collection=part.collection)
        self.stored: list[StoredDocument] = []
        self.replaced: list[str] = []
        self._job = job
        self._ports = ports
        self._part = part

    async def lines(self) -> AsyncIterator[bytes]:
        """The points of new and changed documents, encoded a few hundred chunks at a time across documents."""
        lines = [line async for line in read_lines(self._ports.blobs, self._part.part)]
        documents = [PartDocument.model_validate_json(line) for line in lines]
        known = await self._ports.catalogue.documents(
            self._job.tenant, self._part.collection, [document.id for document in documents]
        )
        pending: list[tuple[PartDocument, str, str | None, int, ChunkSpan]] = []
        for position, document in enumerate(documents):
            await self._job.report(position, len(documents), "preparing documents")
            try:
                parsed = await self._parse(document)
            except DocumentRefused as error:
                refuse(self.result, DocumentError(id=document.id, code=error.reason, message=error.message))
                continue
            title = document.title or parsed.title
            digest = self._digest(document, title, parsed.text)
            before = known.get(document.id)
            if before is not None and before.content_hash == digest:
                self.result.documents.unchanged += 1
                continue
            chunks = await self._chunks(parsed.text)
            for number, span in enumerate(chunks):
                pending.append((document, digest, title, number, span))
                if len(pending) == ENCODE_AT_ONCE:
                    yield await asyncio.to_thread(self._encode, pending)
                    pending = []
            self._count(StoredDocument(document.id, digest, len(chunks), len(parsed.text.encode())), before is not None)
        if pending:
            yield await asyncio.to_thread(self._encode, pending)

    async def _parse(self, document: PartDocument) -> ParsedDocument:
        if any(isinstance(value, int) and abs(value) >= 2**63 for value in document.metadata.values()):
            raise DocumentRefused(
                "a number in `metadata` needs more than 64 bits; give it as a text", code="metadata_invalid"
            )
        data = document.text if document.text is not None else await self._read(document.blob or "")
        parsed = await asyncio.to_thread(
            self._ports.parser.parse, data, format=document.format, filename=document.filename
        )
        if len(parsed.text) > MAX_DOCUMENT_CHARS:
            raise _too_large(f"{len(parsed.text):,} characters of text, {MAX_DOCUMENT_CHARS:,} are allowed")
        return parsed

    async def _read(self, key: str) -> bytes:
        data = bytearray()
        async for piece in self._ports.blobs.stream(key):
            data += piece
            if len(data) > MAX_FILE_BYTES:
                raise _too_large(f"its file is larger than {MAX_FILE_BYTES:,} bytes")
        return bytes(data)

    async def _chunks(self, text: str) -> list[ChunkSpan]:
        rules = self._part.chunking
        sentences: list[tuple[int, int]] = []
        # A text that fits one chunk is one whatever its sentences, and finding them is half the work.
        if len(text) <= rules.max_chars:
            return chunk(text, sentences, max_chars=rules.max_chars, overlap_sentences=0)
        for start in range(0, len(text), SPLIT_AT_ONCE):
            found = await asyncio.to_thread(self._ports.splitter.split, text[start : start + SPLIT_AT_ONCE])
            sentences.extend((start + first, start + end) for first, end in found)
        return chunk(text, sentences, max_chars=rules.max_chars, overlap_sentences=rules.overlap_sentences)

    def _count(self, document: StoredDocument, known: bool) -> None:
        self.stored.append(document)
        self.result.chunks += document.chunks
        if known:
            self.replaced.append(document.id)
            self.result.documents.replaced += 1
        else:
            self.result.documents.added += 1

    def _digest(self, document: PartDocument, title: str | None, text: str) -> str:
        """Changes whenever the points would: content, chunking or an encoder."""
        embedder = self._ports.embedder
        encoders = [self._ports.sparse.name, embedder.name if embedder else None]
        rules: Chunking = self._part.chunking
        content = [title, text, document.metadata, rules.model_dump(), encoders]
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _encode(self, pending: list[tuple[PartDocument, str, str | None, int, ChunkSpan]]) -> bytes:
        vectors = self._ports.sparse.encode_documents(
            [encoded_text(title, span.text) for _, _, title, _, span in pending]
        )
        scope = f"{self._job.tenant}/{self._part.collection}"
        return b"".join(
            point_line(
                Point(
                    # The same content gives the same id, so that writing a point twice is writing it once.
                    id=str(uuid5(_POINTS, f"{scope}/{document.id}/{digest}/{number}")),
                    document_id=document.id,
                    content_hash=digest,
                    title=title,
                    text=span.text,
                    start=span.start,
                    end=span.end,
                    sparse=vector,
                    metadata=document.metadata,
                )
            )
            for (document, digest, title, number, span), vector in zip(pending, vectors, strict=True)
        )


def _too_large(what: str) -> DocumentRefused:
    return DocumentRefused(f"the document is too large: {what}; split it", code="document_too_large")
