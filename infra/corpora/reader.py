"""The reader of corpora and datasets of a worker: isolated processes read tables row by row (decision 0034)."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from infra.isolation.forks import ForkServer
from infra.isolation.frames import Frame
from infra.isolation.limits import STANDS_BACK, WALL, Limits
from infra.isolation.pool import Broke, IsolatedPool, IsolationError, TookTooLong, TookTooMuch
from infra.settings import ParserSettings
from schemas.errors import InvalidInput
from schemas.kinds.dataset import Form
from schemas.kinds.evaluation.items import Dataset, Item, ItemProblem
from schemas.kinds.indexing import MAX_DOCUMENT_CHARS, Corpus, DocumentError
from schemas.kinds.indexing.parts import PartLine
from schemas.kinds.training import Method
from schemas.kinds.training.examples import Example, ExampleProblem
from schemas.requester import Requester
from schemas.topics import Lane

MODULE: Final = "infra.corpora.service"
_FORM: Final[TypeAdapter[Form]] = TypeAdapter(Form)


class IsolatedTableReader:
    """Reads TSV, CSV, JSON Lines and Parquet of any size in little memory. Use and close it in one event loop."""

    def __init__(self, settings: ParserSettings) -> None:
        self._seconds = settings.timeout.total_seconds()
        limits = Limits(
            memory=settings.memory_bytes,
            cpu=self._seconds,
            wall=WALL * self._seconds,
            # One row with the largest document, every character escaped, and the small rows before it.
            answer=6 * (MAX_DOCUMENT_CHARS + 1_000_000) + 16 * 1024**2,
            requests=None,
            nice=STANDS_BACK,
        )
        self._server = ForkServer(MODULE)
        self._pools = {
            lane: IsolatedPool(self._server, f"corpus-{lane}", processes=settings.processes, limits=limits)
            for lane in Lane
        }

    async def rows(
        self, path: Path, corpus: Corpus, *, by: Requester
    ) -> AsyncGenerator[tuple[list[PartLine | DocumentError], int]]:
        """The rows of the table at an absolute path, in batches, each with the number of bytes read so far.

        Lines come as the process wrote them: who reads one checks it. A row that is not a document is replaced by the
        reason. Raises `InvalidInput` for a table that cannot be read,
        and for one that takes too much time or memory (`corpus_timeout`, `corpus_too_large`, `corpus_unreadable`).
        """
        opening = {"path": str(path), "corpus": corpus.model_dump()}
        try:
            async with aclosing(self._frames("open", opening, by)) as frames:
                async for frame in frames:
                    yield await asyncio.to_thread(_rows, frame)
        except IsolationError as error:
            raise self._refused(error, "corpus") from error

    async def items(
        self, path: Path, dataset: Dataset, format: str, *, by: Requester
    ) -> AsyncGenerator[list[Item | ItemProblem]]:
        """The rows of the dataset at an absolute path, in batches, each an item or what is wrong with the row.

        Raises `InvalidInput` as `rows` does; its codes begin with `dataset_`.
        """
        opening = {"path": str(path), "dataset": dataset.model_dump(), "format": format}
        try:
            async with aclosing(self._frames("open_dataset", opening, by)) as frames:
                async for frame in frames:
                    yield await asyncio.to_thread(_items, frame)
        except IsolationError as error:
            raise self._refused(error, "dataset") from error

    async def form(self, path: Path, dataset: Dataset, format: str, *, by: Requester) -> Form:
        """What the rows of the dataset at an absolute path are, by the names of its columns.

        Raises `InvalidInput` for a table that takes too much time or memory.
        """
        opening = {"path": str(path), "dataset": dataset.model_dump(), "format": format}
        try:
            async with self._pools[by.lane].session(owner=by.tenant, rank=by.rank) as session:
                answer, _ = await session.ask("form", opening)
            return _FORM.validate_python(answer.get("form"))
        except ValidationError as error:
            raise self._refused(Broke("its form makes no sense"), "dataset") from error
        except IsolationError as error:
            raise self._refused(error, "dataset") from error

    async def examples(
        self, path: Path, method: Method, format: str, *, by: Requester
    ) -> AsyncGenerator[tuple[list[Example | ExampleProblem], int]]:
        """The rows of the training dataset at an absolute path, in batches, each an example or what is wrong with it;
        and the number of bytes read so far.

        Raises `InvalidInput` as `rows` does; its codes begin with `dataset_`.
        """
        opening = {"path": str(path), "method": method, "format": format}
        try:
            async with aclosing(self._frames("open_examples", opening, by)) as frames:
                async for frame in frames:
                    yield await asyncio.to_thread(_examples, frame)
        except IsolationError as error:
            raise self._refused(error, "dataset") from error

    async def close(self) -> None:
        """Kill the processes."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
        await self._server.close()

    async def _frames(self, task: str, opening: Mapping[str, Any], by: Requester) -> AsyncGenerator[Frame]:
        """What the process answers about one table, until it has no more rows."""
        async with self._pools[by.lane].session(owner=by.tenant, rank=by.rank) as session:
            await session.ask(task, opening)
            while (frame := await session.ask("next", {}))[0]["accepted"]:
                yield frame

    def _refused(self, error: IsolationError, table: str) -> InvalidInput:
        field = f"input.{table}.file"
        match error:
            case TookTooLong():
                why = f"the next rows of the {table} take longer than {self._seconds:g} s to read; split it"
                return InvalidInput(why, code=f"{table}_timeout", field=field)
            case TookTooMuch():
                why = f"the {table} takes more than it may: {error}; split it, or make its rows shorter"
                return InvalidInput(why, code=f"{table}_too_large", field=field)
        why = f"the {table} cannot be read: {error}; save it again"
        return InvalidInput(why, code=f"{table}_unreadable", field=field)


def _rows(frame: Frame) -> tuple[list[PartLine | DocumentError], int]:
    """The rows. Those that are documents are not looked into: to read ten million characters holds everything up."""
    answer, payload = frame
    lines = payload.split(b"\n") if b"\n" in payload else [payload]
    try:
        documents = iter(answer["documents"])
        rows = [
            _line(line, *next(documents)) if document else DocumentError.model_validate_json(line)
            for line, document in zip(lines, answer["accepted"], strict=True)
        ]
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise Broke("what was read makes no sense") from error
    return rows, int(answer["read"])


def _line(line: bytes, name: Any, chars: Any) -> PartLine:
    if not (isinstance(name, str) and isinstance(chars, int)):
        raise ValueError("a row is no document")
    # A character takes six bytes at most, so nothing can pass for much less than it is.
    return PartLine(name, max(chars, len(line) // 6), line)


def _items(frame: Frame) -> list[Item | ItemProblem]:
    """The items, checked anew in this process."""
    answer, payload = frame
    try:
        return [
            (Item if item else ItemProblem).model_validate_json(line)
            for line, item in zip(payload.split(b"\n"), answer["accepted"], strict=True)
        ]
    except (KeyError, ValueError) as error:
        raise Broke("what was read makes no sense") from error


def _examples(frame: Frame) -> tuple[list[Example | ExampleProblem], int]:
    """The examples, checked anew in this process."""
    answer, payload = frame
    try:
        rows = [
            (Example if example else ExampleProblem).model_validate_json(line)
            for line, example in zip(payload.split(b"\n"), answer["accepted"], strict=True)
        ]
    except (KeyError, ValueError) as error:
        raise Broke("what was read makes no sense") from error
    return rows, int(answer["read"])
