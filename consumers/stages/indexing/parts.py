"""Cuts what is to be indexed into parts, one child each, small enough for one worker's memory."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from consumers.stages.context import StageJob
from consumers.stages.indexing.tally import MAX_ERRORS
from consumers.stages.ports import Ports
from schemas.errors import InvalidInput, NotFound
from schemas.kinds.indexing import Corpus, DocumentError, IndexingInput
from schemas.kinds.indexing.parts import PartDocument, PartInput, PartLine
from schemas.outcomes import Child

PART_DOCUMENTS: Final = 500
"""Of few words each, as in many corpora, that is half a second of work; a part costs some 30 ms by itself."""
PART_CHARS: Final = 400_000
FILE_CHARS: Final = 40_000
"""The assumed size of a file whose text is not known yet."""


class Parts:
    """Collects documents and writes them out as parts. Of several documents with one id the first is kept."""

    def __init__(self, job: StageJob[IndexingInput, Any], ports: Ports, request: IndexingInput) -> None:
        self.folder = f"{job.folder}/parts"
        self.sizes: list[int] = []
        """How many documents each part has."""
        self._marks: list[tuple[bool, bool]] = []
        """Whether each is one long text, and whether it is of a table."""
        self.errors: list[DocumentError] = []
        self.failed = 0
        self._job = job
        self._ports = ports
        self._request = request
        self._lines: list[bytes] = []
        self._chars = 0

    async def write(self) -> None:
        """Read all that the request names. Raises `NotFound` and `InvalidInput` for a corpus that cannot be read."""
        given: set[str] = set()
        for document in self._request.documents:
            if document.id in given:
                why = "an earlier document of this request has the same id; the first one is kept"
                self._refuse(DocumentError(id=document.id, code="duplicate_id", message=why))
                continue
            given.add(document.id)
            part = PartDocument(**document.model_dump(exclude={"file"}))
            if document.file is not None:
                try:
                    file = await self._ports.files.find(document.file)
                    part.blob, part.filename = file.blob, file.filename
                except NotFound:
                    why = f"there is no file {document.file!r}; upload it with POST /v1/files and name the id it gives"
                    self._refuse(DocumentError(id=document.id, code="file_not_found", message=why))
                    continue
            chars = FILE_CHARS if part.text is None else len(part.text)
            await self._add(PartLine(part.id, chars, part.model_dump_json().encode()))
        await self._flush()
        if self._request.corpus is not None:
            async with aclosing(self._corpus(self._request.corpus)) as rows:
                async for row in rows:
                    if isinstance(row, DocumentError):
                        self._refuse(row)
                    elif row.id in given:
                        why = "the request's own documents hold this id too; that one is kept"
                        self._refuse(DocumentError(id=row.id, code="duplicate_id", message=why))
                    else:
                        await self._add(row, rows=True)
            await self._flush(rows=True)

    def children(self, version: int) -> list[Child]:
        """A child for each part."""
        collection = self._request.collection
        return [
            Child(
                "indexing",
                PartInput(collection=collection, part=self._blob(number), version=version, long=long, rows=rows),
                key=f"part-{number:05d}",
                stage="prepare",
            )
            for number, (long, rows) in enumerate(self._marks, 1)
        ]

    def _blob(self, number: int) -> str:
        return f"{self.folder}/{number:05d}.jsonl"

    async def _corpus(self, corpus: Corpus) -> AsyncGenerator[PartLine | DocumentError]:
        try:
            stored = await self._ports.files.find(corpus.file)
        except NotFound as error:
            why = f"there is no file {corpus.file!r}; upload the corpus with POST /v1/files and name the id it gives"
            raise NotFound(why, code="file_not_found", field="input.corpus.file") from error
        # On disk, because readers of tables are synchronous and the file may be larger than memory.
        with NamedTemporaryFile() as file:
            async for piece in self._ports.blobs.stream(stored.blob):
                await asyncio.to_thread(file.write, piece)
            file.flush()
            total = file.tell()
            found = self._ports.corpora.rows(Path(file.name), corpus, by=self._job.requester)
            empty = True
            async with aclosing(found) as batches:
                async for batch, read in batches:
                    empty = False
                    for row in batch:
                        yield row
                    await self._job.report(read, total, "reading the corpus, in bytes")
            if empty:
                why = "the corpus has no rows below its header"
                raise InvalidInput(why, code="corpus_empty", field="input.corpus.file")

    def _refuse(self, error: DocumentError) -> None:
        self.failed += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(error)

    async def _add(self, document: PartLine, *, rows: bool = False) -> None:
        if self._lines and self._chars + document.chars > PART_CHARS:
            await self._flush(rows=rows)
        self._lines.append(document.line)
        self._chars += document.chars
        if len(self._lines) == PART_DOCUMENTS:
            await self._flush(rows=rows)

    async def _flush(self, *, rows: bool = False) -> None:
        if not self._lines:
            return
        self.sizes.append(len(self._lines))
        self._marks.append((self._chars > PART_CHARS, rows))
        await self._ports.blobs.put(
            self._blob(len(self.sizes)), b"\n".join(self._lines), content_type="application/jsonl"
        )
        self._lines, self._chars = [], 0
