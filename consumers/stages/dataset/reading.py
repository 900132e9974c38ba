"""Reads a dataset, whatever it holds: its form, and then its rows, some at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass

from consumers.stages.context import StageJob
from consumers.stages.dataset.rows import Row, row_of
from consumers.stages.ports import Ports
from consumers.stages.tables import Table, opened
from schemas.errors import InvalidInput
from schemas.kinds.dataset import MAX_ROWS, DatasetInput, Form
from schemas.kinds.evaluation.items import MAX_DATASET_BYTES, Dataset, Item, ItemProblem
from schemas.kinds.training.examples import Example, ExampleProblem

Job = StageJob[DatasetInput, None]
Problem = ItemProblem | ExampleProblem
_Read = Item | Example | Problem


@dataclass(frozen=True, slots=True)
class Given:
    """A dataset of the input, and the name of its field."""

    dataset: Dataset
    field: str

    def opened(self, ports: Ports) -> AbstractAsyncContextManager[Table]:
        """The table on disk. Raises what `tables.opened` raises."""
        where = f"input.{self.field}"
        return opened(
            ports,
            self.dataset.file,
            self.dataset.format,
            most=MAX_DATASET_BYTES,
            field=f"{where}.file",
            format_field=f"{where}.format",
        )


async def rows(job: Job, ports: Ports, table: Table, given: Given, form: Form) -> AsyncIterator[list[Row | Problem]]:
    """The rows of a table, some at a time, each as a row or as what is wrong with it.

    Raises `InvalidInput` (`dataset_too_large`) for too many, and what the readers raise.
    """
    read = 0
    async with aclosing(_read(job, ports, table, given.dataset, form)) as batches:
        async for batch in batches:
            read += len(batch)
            if read > MAX_ROWS:
                why = f"the dataset has more than {MAX_ROWS:,} rows: check a part of it"
                raise InvalidInput(why, code="dataset_too_large", field=f"input.{given.field}.file")
            yield await asyncio.to_thread(_shaped, batch)
            await job.report(read, 0, "reading the rows")


def _shaped(batch: Sequence[_Read]) -> list[Row | Problem]:
    return [row_of(one) if isinstance(one, Item | Example) else one for one in batch]


async def _read(job: Job, ports: Ports, table: Table, dataset: Dataset, form: Form) -> AsyncGenerator[Sequence[_Read]]:
    if form == "questions":
        async with aclosing(ports.datasets.items(table.path, dataset, table.format, by=job.requester)) as items:
            async for batch in items:
                yield batch
        return
    async with aclosing(ports.examples.examples(table.path, form, table.format, by=job.requester)) as examples:
        async for found, _ in examples:
            yield found
