"""The corpus reader of a worker: isolated processes read tables row by row (decision 0034)."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from infra.isolation.forks import ForkServer
from infra.isolation.frames import Frame
from infra.isolation.limits import Limits
from infra.isolation.pool import Broke, IsolatedPool, IsolationError, TookTooLong, TookTooMuch
from infra.settings import ParserSettings
from schemas.errors import InvalidInput
from schemas.kinds.indexing import MAX_DOCUMENT_CHARS, Corpus, DocumentError
from schemas.kinds.indexing.parts import PartDocument
from schemas.requester import Requester
from schemas.topics import Lane

MODULE: Final = "infra.corpora.service"


class IsolatedCorpusReader:
    """Reads TSV, CSV, JSON Lines and Parquet of any size in little memory. Use and close it in one event loop."""

    def __init__(self, settings: ParserSettings) -> None:
        self._seconds = settings.timeout.total_seconds()
        limits = Limits(
            memory=settings.memory_bytes,
            cpu=self._seconds,
            wall=self._seconds,
            # One row with the largest document, every character escaped, and the small rows before it.
            answer=6 * (MAX_DOCUMENT_CHARS + 1_000_000) + 16 * 1024**2,
            requests=None,
        )
        self._server = ForkServer(MODULE)
        self._pools = {
            lane: IsolatedPool(self._server, f"corpus-{lane}", processes=settings.processes, limits=limits)
            for lane in Lane
        }

    async def rows(
        self, path: Path, corpus: Corpus, *, by: Requester
    ) -> AsyncGenerator[tuple[list[PartDocument | DocumentError], int]]:
        """The rows of the table at an absolute path, in batches, each with the number of bytes read so far.

        A row that is not a document is replaced by the reason. Raises `InvalidInput` for a table that cannot be read,
        and for one that takes too much time or memory (`corpus_timeout`, `corpus_too_large`, `corpus_unreadable`).
        """
        try:
            async with self._pools[by.lane].session(owner=by.tenant, rank=by.rank) as session:
                await session.ask("open", {"path": str(path), "corpus": corpus.model_dump()})
                while True:
                    rows, read = await asyncio.to_thread(_rows, await session.ask("next", {}))
                    if not rows:
                        return
                    yield rows, read
        except IsolationError as error:
            raise self._refused(error) from error

    async def close(self) -> None:
        """Kill the processes."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
        await self._server.close()

    def _refused(self, error: IsolationError) -> InvalidInput:
        field = "input.corpus.file"
        match error:
            case TookTooLong():
                why = f"the next rows of the corpus take longer than {self._seconds:g} s to read; split it"
                return InvalidInput(why, code="corpus_timeout", field=field)
            case TookTooMuch():
                why = f"the corpus takes more than it may: {error}; split it, or make its rows shorter"
                return InvalidInput(why, code="corpus_too_large", field=field)
        return InvalidInput(f"the corpus cannot be read: {error}; save it again", code="corpus_unreadable", field=field)


def _rows(frame: Frame) -> tuple[list[PartDocument | DocumentError], int]:
    """The rows, created anew in this process, because a hostile table must not name blobs that it does not own."""
    answer, payload = frame
    lines = payload.split(b"\n") if payload else []
    try:
        rows = [
            (PartDocument if document else DocumentError).model_validate_json(line)
            for line, document in zip(lines, answer["documents"], strict=True)
        ]
        if any(isinstance(row, PartDocument) and (row.blob or row.text is None) for row in rows):
            raise ValueError("a row names a blob")
    except (KeyError, ValueError) as error:
        raise Broke("what was read makes no sense") from error
    return rows, int(answer["read"])
