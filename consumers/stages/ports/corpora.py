"""Reads tables: a corpus of documents, a dataset of questions, a dataset to train on."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Protocol

from schemas.kinds.dataset import Form
from schemas.kinds.evaluation.items import Dataset, Item, ItemProblem
from schemas.kinds.indexing import Corpus, DocumentError
from schemas.kinds.indexing.parts import PartLine
from schemas.kinds.training import Method
from schemas.kinds.training.examples import Example, ExampleProblem
from schemas.requester import Requester


class CorpusReader(Protocol):
    """Reads TSV, CSV, JSON Lines and Parquet row by row, in a process with limits that is killed on cancel."""

    def rows(
        self, path: Path, corpus: Corpus, *, by: Requester
    ) -> AsyncGenerator[tuple[list[PartLine | DocumentError], int]]:
        """The rows, some at a time, each as a document or as the reason for its refusal; and how many bytes were read.

        A line is as the process wrote it, which a hostile table may have taken over: check it before it is used.

        Raises `InvalidInput` for a table that cannot be read, or not within the limits.
        """


class DatasetReader(Protocol):
    """Reads the dataset of an evaluation row by row, under the same conditions."""

    def items(
        self, path: Path, dataset: Dataset, format: str, *, by: Requester
    ) -> AsyncGenerator[list[Item | ItemProblem]]:
        """The rows, some at a time, each as an item or as what is wrong with it.

        Raises `InvalidInput` for a table that cannot be read, lacks a column, or is not within the limits.
        """

    async def form(self, path: Path, dataset: Dataset, format: str, *, by: Requester) -> Form:
        """What the rows are, by the names of the columns; `questions` where nothing tells.

        Raises `InvalidInput` for a table that is not within the limits.
        """


class ExampleReader(Protocol):
    """Reads a dataset to train on row by row, under the same conditions."""

    def examples(
        self, path: Path, method: Method, format: str, *, by: Requester
    ) -> AsyncGenerator[tuple[list[Example | ExampleProblem], int]]:
        """The rows, some at a time, each as examples or as what is wrong with it; and how many bytes were read.

        Raises `InvalidInput` for a table that cannot be read, or not within the limits.
        """
